#!/usr/bin/env bash
# Writes the software bill of materials (CycloneDX) of an environment that install.sh made.
#   infra/images/inventory.sh ENVIRONMENT FILE
set -euo pipefail
environment="${1:?usage: inventory.sh ENVIRONMENT FILE}"
file="${2:?usage: inventory.sh ENVIRONMENT FILE}"
source="$(cd "$(dirname "$0")/../.." && pwd)"

tool="$(command -v cyclonedx-py || true)"
if [ -z "$tool" ]; then
  # A tool of the build, never in the environment it describes.
  "${PYTHON:-python3.11}" -m venv /tmp/cyclonedx
  /tmp/cyclonedx/bin/pip install --quiet --disable-pip-version-check --constraint "$source/constraints.txt" cyclonedx-bom
  tool=/tmp/cyclonedx/bin/cyclonedx-py
fi
"$tool" environment --output-reproducible --output-file "$file" "$environment/bin/python"
