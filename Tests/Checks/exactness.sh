#!/bin/bash
# Half a million verdicts of the XDP program beside the reference classifier's and libpcap's, by other rule sets each time.
#
# SWIFT: the toolchain's command. SCRATCH: where to build.
set -euo pipefail
cd "$(dirname "$0")/../.."
SWIFT=${SWIFT:-swift}
SCRATCH=$(realpath -m "${SCRATCH:-.build}")

"$SWIFT" build -c release --scratch-path "$SCRATCH" --product exactness </dev/null >"$SCRATCH/exactness.log" 2>&1 ||
  { cat "$SCRATCH/exactness.log"; exit 1; }
seed=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')
echo "exactness 500000 $seed"
"$("$SWIFT" build -c release --scratch-path "$SCRATCH" --show-bin-path)/exactness" 500000 "$seed"
