#!/bin/bash
# In DataPlane's release code, no hot root reaches anything that Tests/Checks/hot-roots.sh forbids. A hot root is what
# the source marks `@_noAllocation @_noLocks @inline(never)`.
#
# SWIFT: the toolchain's command. SCRATCH: where to build.
set -euo pipefail
cd "$(dirname "$0")/../.."
SWIFT=${SWIFT:-swift}
SCRATCH=$(realpath -m "${SCRATCH:-.build}")

"$SWIFT" build -c release --scratch-path "$SCRATCH" --target DataPlane </dev/null >"$SCRATCH/hot-path.log" 2>&1 ||
  { cat "$SCRATCH/hot-path.log"; exit 1; }
built=$("$SWIFT" build -c release --scratch-path "$SCRATCH" --show-bin-path)
roots=$(grep -hA1 '@_noAllocation @_noLocks @inline(never)' Sources/DataPlane/*.swift |
  sed -n 's/.*func \([A-Za-z0-9]*\).*/\1/p' | sort -u)
count=$(wc -w <<<"$roots")
[ "$count" -gt 0 ] || { echo "no hot root is marked in Sources/DataPlane"; exit 1; }
echo "roots:" $roots
# A captured packet is copied into its ring: bytes of any number, memmove. Copies of values would be memcpy.
ALLOWED=^memmove$ Tests/Checks/hot-roots.sh "9DataPlane[0-9]+($(paste -sd'|' <<<"$roots"))" "$count" \
  "$built"/{DataPlane,XSK,Packets,LinuxSystem}.build/*.o
