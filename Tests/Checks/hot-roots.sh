#!/bin/bash
# hot-roots.sh PATTERN COUNT FILE…: in the release code in FILE… (a program, or object files), nothing that the functions
# whose mangled names match PATTERN reach allocates, counts references, checks exclusivity, locks, copies memory by a
# call, or calls through a register, which nobody can follow. At least COUNT functions must match.
#
# ALLOWED: a pattern of calls that the roots may make all the same.
set -euo pipefail
pattern=$1
count=$2
shift 2

objdump -dr --no-show-raw-insn "$@" | awk -v pattern="$pattern" -v least="$count" -v allowed="${ALLOWED:-^$}" '
  function add(callee) {
    sub(/([+-]0x|@).*/, "", callee)
    if (callee != name && !seen[name, callee]++) calls[name] = calls[name] " " callee
  }
  # An indirect call is one through a register unless a relocation on the next line names the symbol.
  function settle() {
    if (isIndirect) add("register")
    isIndirect = 0
  }
  /^[0-9a-f]+ <.*>:$/ {
    settle()
    isCall = 0
    name = $2; gsub(/[<>:]/, "", name)
    if (name ~ pattern && !(name in reached)) { reached[name] = name; queue[tail++] = name; roots++ }
    next
  }
  /R_X86_64_/ {
    if (isCall) { isIndirect = 0; add($3) }
    isCall = 0
    next
  }
  /[ \t](call|j[a-z]+)[ \t]/ {
    settle()
    isCall = 1
    if ($0 ~ /call +\*/) isIndirect = 1
    else if ($0 ~ /<.*>/) { callee = $0; sub(/.*</, "", callee); sub(/>.*/, "", callee); add(callee) }
    next
  }
  NF { settle(); isCall = 0 }
  END {
    settle()
    if (roots < least) { print "only " roots + 0 " functions match " pattern; exit 1 }
    forbidden = "swift_(retain|release|bridgeObject|alloc|slowAlloc|dealloc|beginAccess|endAccess|getWitness)" \
      "|swift_(getGeneric|getType|once)|^(malloc|calloc|realloc|free|memcpy|memmove|memset|pthread_.*|register)$"
    while (head < tail) {
      from = queue[head++]
      n = split(calls[from], callees, " ")
      for (i = 1; i <= n; i++) {
        to = callees[i]
        if (to ~ forbidden && to !~ allowed) { print reached[from] " calls " to; bad = 1; continue }
        if (!(to in reached)) { reached[to] = reached[from] " > " to; queue[tail++] = to }
      }
    }
    print roots " hot roots reach " tail " functions: " (bad ? "some calls are forbidden" : "no forbidden call")
    exit bad
  }'
