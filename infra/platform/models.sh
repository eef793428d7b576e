#!/usr/bin/env bash
# Copies every model an overlay pins from this machine's store to where the overlay says; needs the aws client.
#   infra/platform/models.sh infra/overlays/local
set -euo pipefail
overlay="${1:?usage: models.sh OVERLAY}"
store="${WHODID_MODELS:-${WHODID_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/whodid}/models}"
grep --only-matching 's3://[^ ]*' "$overlay/models.yaml" | while read -r uri; do
  sha256="$(basename "$uri")"
  [ -d "$store/$sha256" ] || { echo "models.sh: $store holds no $sha256; run make install" >&2; exit 4; }
  aws s3 cp --recursive "$store/$sha256" "$uri" </dev/null
done
