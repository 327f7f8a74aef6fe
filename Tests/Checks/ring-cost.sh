#!/bin/bash
# User instructions per packet in the hot loops over rings in memory, and what those loops call. The difference between
# runs of N and 3N rounds is free of everything that happens once; callgrind counts, so it is the same on every machine.
#
# SWIFT: the toolchain's command. SCRATCH: where to build.
set -euo pipefail
cd "$(dirname "$0")/../.."
SWIFT=${SWIFT:-swift}
SCRATCH=$(realpath -m "${SCRATCH:-.build}")
batch=64
rounds=1000

"$SWIFT" build -c release --scratch-path "$SCRATCH" --product ring-cost </dev/null >"$SCRATCH/ring-cost.log" 2>&1 ||
  { cat "$SCRATCH/ring-cost.log"; exit 1; }
program=$("$SWIFT" build -c release --scratch-path "$SCRATCH" --show-bin-path)/ring-cost
stripped=$(mktemp)
trap 'rm -f "$stripped"' EXIT
# valgrind 3.19 stops at Swift's debug information; it needs the symbols to know the hot roots.
strip --strip-debug -o "$stripped" "$program"
chmod +x "$stripped"

# instructions WORK ROUNDS: inside the hot root.
instructions() {
  local output
  output=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect='*processBatch*' \
    "$stripped" "$1" "$2" 2>&1) || { echo "$output" >&2; return 1; }
  sed -n 's/.*Collected : \([0-9]*\)$/\1/p' <<<"$output"
}

status=0
# cost WORK LIMIT AIM
cost() {
  local few many
  few=$(instructions "$1" $rounds)
  many=$(instructions "$1" $((3 * rounds)))
  awk -v work="$1" -v few="$few" -v many="$many" -v packets=$((2 * rounds * batch)) -v most="$2" -v aim="$3" 'BEGIN {
    cost = (many - few) / packets
    printf "%s: %.2f instructions per packet; limit %d, aim %d\n", work, cost, most, aim
    exit !(cost > 1 && cost <= most) }' || status=1
}
cost drop 14 11
cost reflect 35 25

Tests/Checks/hot-roots.sh 'ring_cost[0-9]*processBatch' 2 "$program" || status=1
exit $status
