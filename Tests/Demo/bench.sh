#!/bin/bash
# `make bench`, as root: what is measured in this version, on a veth pair in a namespace of its own. BIN names the built programs.
set -euo pipefail
: "${BIN:?set BIN to the folder of the built programs}"
if [ "$(id -u)" != 0 ]; then
  exec sudo BIN="$BIN" "$0" "$@"
fi
. "$(dirname "$0")/../Checks/clean-environment.sh"
exec python3 "$(dirname "$0")/bench.py" "$BIN" "$@"
