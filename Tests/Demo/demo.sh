#!/bin/bash
# The main job on real parts: two namespaces, a veth pair, sluiced, sluice-api, rules by the API, more than a million packets
# of several flows, a capture; every count must agree to the packet. Called by `make demo` as root; --keep leaves it running.
#
# It leaves .demo/summary.json, .demo/metrics.prom and .demo/capture.pcapng, and ends with "demo: ok" or a non-zero status.
set -euo pipefail

bin=${BIN:?set BIN to the folder of the built programs}
keep=no
[ "${1-}" = --keep ] && keep=yes
package=$(cd "$(dirname "$0")/../.." && pwd)
if [ "$(id -u)" != 0 ]; then
  exec sudo BIN="$bin" "$0" "$@"
fi
. "$package/Tests/Checks/clean-environment.sh"
for tool in ip curl jq tshark promtool; do
  command -v "$tool" >/dev/null || { echo "demo: $tool is missing: make deps" >&2; exit 69; }
done

out=$package/.demo
rm -rf "$out"
mkdir -p "$out"
name=sluice-demo-$$
inside=$name-router
outside=$name-world
run=/run/$name
pids=()

# What a killed demo left.
for stale in /run/sluice-demo-*/; do
  old=$(basename "$stale")
  [ -d "$stale" ] && ! kill -0 "${old##*-}" 2>/dev/null || continue
  for namespace in "$old-router" "$old-world"; do
    ip netns pids "$namespace" 2>/dev/null | xargs -r kill -9
    ip netns del "$namespace" 2>/dev/null || true
  done
  umount -l "$stale/bpf" 2>/dev/null || true
  rm -rf "$stale"
done

clean() {
  trap - EXIT INT TERM
  [ -z "${SUDO_UID-}" ] || chown -R "$SUDO_UID:$SUDO_GID" "$out"
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  ip netns del "$inside" 2>/dev/null || true
  ip netns del "$outside" 2>/dev/null || true
  umount -l "$run/bpf" 2>/dev/null || true
  rm -rf "$run"
}
trap clean EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
fail() { echo "demo: $*" >&2; exit 1; }
router() { ip netns exec "$inside" "$@"; }
world() { ip netns exec "$outside" "$@"; }
export XDG_CONFIG_HOME=$run/home
sluice() { router env XDG_CONFIG_HOME="$XDG_CONFIG_HOME" "$bin/sluice" "$@"; }
metric() { awk -v name="$1" -v label="${2-}" '$1 ~ "^" name "[{ ]" && index($1, label) { sum += $2 } END { print sum + 0 }'; }
wait_for() {
  for _ in $(seq 200); do "${@:2}" >/dev/null 2>&1 && return 0; sleep 0.05; done
  tail -n 20 "$out"/*.log >&2
  fail "$1 in vain"
}

say "1. Two namespaces and a veth pair: packets leave world:wan1 and arrive at router:wan0"
mkdir -p "$run/bpf" "$run/home"
mount -t bpf bpf "$run/bpf"
ip netns add "$inside"
ip netns add "$outside"
ip -n "$inside" link set lo up
ip -n "$inside" link add wan0 type veth peer name wan1 netns "$outside"
# No chatter of the kernel's own: every packet is the generator's, or the count would be off.
router sysctl -qw net.ipv6.conf.wan0.disable_ipv6=1
world sysctl -qw net.ipv6.conf.wan1.disable_ipv6=1
ip -n "$inside" link set wan0 up
ip -n "$outside" link set wan1 up

say "2. sluiced (packets) and sluice-api (users, rules; SQLite)"
# Not by the functions: in the background they are shells of their own, whose end the programs would outlive.
ip netns exec "$inside" "$bin/sluiced" -v --set daemon.state_directory="$run/state" --set daemon.capture_directory="$run/captures" \
  --set daemon.bpffs="$run/bpf" --set control.socket="$run/sluiced.sock" >"$out/sluiced.log" 2>&1 &
pids+=($!)
wait_for "waited for sluiced" grep -q ' ready version=' "$out/sluiced.log"
ip netns exec "$inside" env SLUICE_SOCKET="$run/sluiced.sock" DB_PATH="$run/api/sluice.db" SLUICE_TOKEN_KEYS="$run/api/keys" \
  "$bin/sluice-api" -v >"$out/sluice-api.log" 2>&1 &
pids+=($!)
wait_for "waited for sluice-api" router curl -sf http://127.0.0.1:8080/readyz
sluice status --socket "$run/sluiced.sock"

say "3. The first sign-in can only change the first password"
password=$(tr -dc a-z0-9 </dev/urandom | head -c 20 || true)
sluice login admin@localhost.local --password-stdin <<<admin123
status=0
sluice rule-set list || status=$?
[ "$status" = 4 ] || fail "the first password must not do anything else: status $status instead of 4 (forbidden)"
printf 'admin123\n%s\n' "$password" | sluice password change --password-stdin
sluice login admin@localhost.local --password-stdin <<<"$password"

say "4. Rules, attached and applied"
sluice rule-set create edge --default pass
sluice rule add edge drop-telnet --protocol tcp --destination-port 23 --action drop --comment "no clear text"
sluice rule add edge drop-bogons --source 10.0.0.0/8,192.168.0.0/16 --action drop
sluice rule add edge look-dns --protocol udp --destination-port 53 --action capture
sluice rule add edge tally-web --protocol tcp --destination-port 80,443 --action count
sluice attach wan0 --rule-set edge
sluice rule list edge
sluice capture start wan0 --path dns.pcapng --json >"$out/capture.json"
capture=$(jq -r '.id' "$out/capture.json")

say "5. 1,200,000 packets of six flows; twice a second, what became of them"
plan=(
  "name=web,protocol=tcp,source=203.0.113.0/26,destination=198.51.100.7,destination-port=443,size=128,count=500000"
  "name=web6,protocol=tcp,source=2001:db8::1,destination=2001:db8:ffff::7,destination-port=80,size=128,count=200000"
  "name=telnet,protocol=tcp,source=203.0.113.9,destination=198.51.100.7,destination-port=23,size=64,count=200000"
  "name=bogon,protocol=udp,source=10.1.2.3,destination=198.51.100.7,destination-port=4000-4063,size=200,count=150000"
  "name=dns,protocol=udp,source=203.0.113.53,destination=198.51.100.7,destination-port=53,size=90,count=50000"
  "name=vlan,protocol=udp,source=203.0.113.77,destination=198.51.100.7,destination-port=5000,vlan=42,size=300,count=100000"
)
flows=()
for flow in "${plan[@]}"; do flows+=(--flow "$flow"); done
sluice counters wan0 --watch --interval 500ms --count 6 &
watcher=$!
world env XDG_CONFIG_HOME="$XDG_CONFIG_HOME" "$bin/sluice" generate --interface wan1 --rate 400000 "${flows[@]}" --json \
  >"$out/generate.json"
wait "$watcher" || fail "sluice counters --watch failed"

say "6. The capture, the counters, and whether they agree"
sluice capture stop "$capture" --json >"$out/capture.json"
sluice counters wan0 --json >"$out/counters.json"
sluice counters wan0
router curl -sf http://127.0.0.1:9411/metrics >"$out/metrics.prom"
cp "$run/captures/dns.pcapng" "$out/capture.pcapng"

promtool check metrics <"$out/metrics.prom" || fail "promtool refuses .demo/metrics.prom"
comments=$(tshark -r "$out/capture.pcapng" -T fields -e frame.comment 2>"$out/tshark.log" | sort | uniq -c | sed 's/^ *//')
sent=$(jq '.sent' "$out/generate.json")
counted() { metric sluice_interface_packets_total "action=\"$1\"" <"$out/metrics.prom"; }
rule() { metric sluice_rule_packets_total "rule=\"$1\"" <"$out/metrics.prom"; }
lost=$(($(metric sluice_xsk_rx_dropped_total <"$out/metrics.prom") + $(metric sluice_xsk_rx_ring_full_total <"$out/metrics.prom")))
jq -n --argjson sent "$sent" --argjson passed "$(counted pass)" --argjson dropped "$(counted drop)" \
  --argjson captured "$(counted capture)" --argjson redirected "$(counted redirect)" --argjson lost_in_rings "$lost" \
  --slurpfile capture "$out/capture.json" --slurpfile counters "$out/counters.json" --slurpfile generate "$out/generate.json" \
  '{sent: $sent, passed: $passed, dropped: $dropped, captured: $captured, redirected: $redirected,
    capture: {packets_written: $capture[0].packets_written, packets_dropped: $capture[0].packets_dropped,
      lost_in_rings: $lost_in_rings},
    rules: [$counters[0][0].rules[] | {rule, action, packets, bytes}], generate: $generate[0]}' >"$out/summary.json"

printf '\n  %-22s %12s\n' "sent" "$sent"
for action in pass drop capture redirect; do printf '  %-22s %12s\n' "$action" "$(counted $action)"; done
printf '  %-22s %12s\n' "written to pcapng" "$(jq .packets_written "$out/capture.json")"

agree() { [ "$2" = "$3" ] || fail "$1: $2 is not $3 (see .demo/summary.json)"; }
agree "sent = passed + dropped + captured + redirected" "$sent" \
  "$(($(counted pass) + $(counted drop) + $(counted capture) + $(counted redirect)))"
agree "packets of the plan" "$sent" 1200000
agree "drop-telnet" "$(rule drop-telnet)" 200000
agree "drop-bogons" "$(rule drop-bogons)" 150000
agree "look-dns" "$(rule look-dns)" 50000
agree "tally-web" "$(rule tally-web)" 700000
agree "default" "$(rule default)" 800000
agree "captured = written + dropped by the writer + lost in rings" "$(counted capture)" \
  "$(($(jq '.packets_written + .packets_dropped' "$out/capture.json") + lost))"
agree "captured" "$(counted capture)" 50000
agree "comments in the capture" "$comments" "$(jq .packets_written "$out/capture.json") rule=look-dns"
agree "counters by the API" "$(jq '[.[0].actions[].packets] | add' "$out/counters.json")" "$sent"

if [ "$keep" = yes ]; then
  say "It runs on. Talk to it:"
  cat <<END
  ip netns exec $inside env XDG_CONFIG_HOME=$XDG_CONFIG_HOME $bin/sluice counters
  ip netns exec $inside curl -s http://127.0.0.1:9411/metrics
  ip netns exec $inside env XDG_CONFIG_HOME=$XDG_CONFIG_HOME $bin/sluice rule add edge mine --protocol icmp --action drop
  ip netns exec $inside env XDG_CONFIG_HOME=$XDG_CONFIG_HOME $bin/sluice apply edge
  ip netns exec $outside $bin/sluice generate --interface wan1 --count 100000 --flow protocol=icmp,source=203.0.113.1,destination=198.51.100.7
  sign in elsewhere: admin@localhost.local / $password
Ctrl-C ends it and cleans up.
END
  echo "demo: ok"
  wait "${pids[0]}"
  exit 0
fi
echo "demo: ok"
