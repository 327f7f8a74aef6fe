#!/bin/bash
# Makes a Python client from the proto files and runs it against a daemon: client.sh SOCKET NAMESPACE.
# The virtual environment is kept between runs beside the build.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
package=$(cd "$here/../../.." && pwd)
venv=$package/.build/python
exec 9>"$package/.build/python.lock"
flock 9
if ! [ -f "$venv/complete" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check grpcio grpcio-tools grpcio-health-checking grpcio-reflection
  touch "$venv/complete"
fi
flock -u 9
stubs=$(mktemp -d)
trap 'rm -rf "$stubs"' EXIT
"$venv/bin/python" -m grpc_tools.protoc -I "$package/Sources/ControlProtocol/Protos" \
  --python_out="$stubs" --grpc_python_out="$stubs" sluice/control/v1/common.proto sluice/control/v1/rules.proto \
  sluice/control/v1/sets.proto sluice/control/v1/wire.proto sluice/control/v1/control.proto
PYTHONPATH=$stubs "$venv/bin/python" "$here/client.py" "$1" "$2"
