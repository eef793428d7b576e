#!/usr/bin/env bash
# Makes the credentials the manifests refer to, at random, in the cluster alone; run again, it leaves those there are.
#   infra/platform/secrets.sh whodid-local
set -euo pipefail
services="${1:?usage: secrets.sh NAMESPACE-OF-THE-SERVICES}"
platform=whodid-platform
exists() { kubectl --namespace "$1" get secret "$2" >/dev/null 2>&1; }
word() { openssl rand -hex 24; }

read_key() { kubectl --namespace "$platform" get secret "$1" --output "go-template={{index .data \"$2\" | base64decode}}"; }
# Values come through a pipe, never on a command line, where any user could read them.
create() { kubectl --namespace "$1" create secret generic "$2" --from-env-file=/dev/stdin; }

exists "$platform" object-store || create "$platform" object-store <<END
AWS_ACCESS_KEY_ID=$(word)
AWS_SECRET_ACCESS_KEY=$(word)
AWS_ENDPOINT_URL=http://object-store.$platform:9000
END
if ! exists "$platform" postgresql; then
  mlflow_password="$(word)"
  archive_password="$(word)"
  create "$platform" postgresql <<END
password=$(word)
mlflow-password=$mlflow_password
mlflow-url=postgresql+psycopg://mlflow:$mlflow_password@postgresql.$platform/mlflow
archive-password=$archive_password
archive-url=postgresql+psycopg://archive:$archive_password@postgresql.$platform/archive
END
fi
if ! exists "$services" object-store; then
  create "$services" object-store <<END
AWS_ACCESS_KEY_ID=$(read_key object-store AWS_ACCESS_KEY_ID)
AWS_SECRET_ACCESS_KEY=$(read_key object-store AWS_SECRET_ACCESS_KEY)
AWS_ENDPOINT_URL=http://object-store.$platform:9000
END
  # KServe's storage initializer reads the store's address here.
  kubectl --namespace "$services" annotate secret object-store \
    "serving.kserve.io/s3-endpoint=object-store.$platform:9000" serving.kserve.io/s3-usehttps=0
fi
exists "$services" gallery || create "$services" gallery <<END
url=postgresql+psycopg://whodid:$(read_key postgresql password)@postgresql.$platform/whodid
key=$(openssl rand -base64 32)
END
# The audit log is signed; keep a copy of signing.pem.pub elsewhere, it proves the log without this cluster.
if ! exists "$services" signing; then
  key="$(openssl genpkey -algorithm ed25519)"
  kubectl --namespace "$services" create secret generic signing --from-file=signing.pem=/dev/stdin \
    --from-literal=signing.pem.pub="$(openssl pkey -pubout <<<"$key")" <<<"$key"
fi
