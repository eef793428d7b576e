#!/usr/bin/env bash
# Installs what a serving image holds into a virtual environment of its own, inside a container or outside:
#   infra/images/install.sh TARGET EXTRAS        for example: /opt/whodid cluster,postgresql
set -euo pipefail
target="${1:?usage: install.sh TARGET EXTRAS}"
extras="${2:?usage: install.sh TARGET EXTRAS}"
source="$(cd "$(dirname "$0")/../.." && pwd)"
[ ! -e "$target" ] || { echo "install.sh: $target is there already; give a folder that is not" >&2; exit 2; }

# What is not staged cannot be shipped: no training, no tests, no data.
staged="$(mktemp -d)"
trap 'rm -rf "$staged"' EXIT
cp -r "$source"/{pyproject.toml,README.md,LICENSE,services} "$staged"
"${PYTHON:-python3.11}" -m venv "$target"
"$target/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  --constraint "$source/constraints.txt" "$staged[$extras]"

# What no server ever opens: the installer, packages' own tests, C headers.
packages="$("$target/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
find "$packages" -depth -type d \( -name tests -o -name include \) -exec rm -rf {} +
rm -rf "$packages"/pip "$packages"/pip-*.dist-info "$target"/bin/pip*

# Bytecode for what the servers import, and for nothing else: they start in half the time, from a disk they cannot
# write to, and the rest of what is installed stays out of it.
PYTHONDONTWRITEBYTECODE= "$target/bin/python" - <<'END'
import services.action.recognize, services.identity.identify, services.tracks.find
import services.assembly, services.endpoint, services.events.join, services.gallery.store, services.models.pinned
import kserve.model_server, openvino, prometheus_client, s3fs, uvicorn
END
