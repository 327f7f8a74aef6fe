#!/bin/bash
# The ring code compiles for arm64, and its machine code there has the barriers that Rings.swift argues for: loads with
# acquire (ldar, ldapr) where the kernel's index is read, stores with release (stlr) where ours is published.
#
# SWIFT: the toolchain's command.
set -euo pipefail
cd "$(dirname "$0")/../.."
object=$(mktemp --suffix=.o)
trap 'rm -f "$object"' EXIT

# Embedded Swift, because the toolchain brings its standard library for arm64 and no other one.
"${SWIFT:-swift}c" -target aarch64-none-none-elf -enable-experimental-feature Embedded -swift-version 6 \
  -wmo -parse-as-library -O -warnings-as-errors -module-name Rings -c -o "$object" \
  Sources/XSK/{Rings,FramePool,PacketDescriptor}.swift Tests/Checks/RingBarriers.swift

llvm-objdump-14 -d --no-show-raw-insn "$object" | awk '
  /^[0-9a-f]+ <.*>:$/ { name = $2; next }
  $2 ~ /^(ldar|ldapr)$/ { acquires[name]++ }
  $2 == "stlr" { releases[name]++ }
  # expect(FUNCTION, ACQUIRES, RELEASES): at least so many; a call to a shared body does not count.
  function expect(word, acquire, release,    symbol, found, a, r) {
    for (symbol in acquires) if (index(symbol, word)) a += acquires[symbol]
    for (symbol in releases) if (index(symbol, word)) r += releases[symbol]
    if (a < acquire || r < release) {
      printf "%s: %d loads with acquire, %d stores with release; wants %d and %d\n", word, a, r, acquire, release
      bad = 1
    }
  }
  END {
    expect("consumerAvailable", 1, 0)
    expect("consumerRelease", 0, 1)
    expect("consumerOccupancy", 1, 0)
    expect("producerRoom", 1, 0)
    expect("producerSubmit", 0, 1)
    expect("producerOccupancy", 1, 0)
    for (symbol in acquires) loads += acquires[symbol]
    for (symbol in releases) stores += releases[symbol]
    printf "%d loads with acquire, %d stores with release\n", loads, stores
    exit bad
  }'
