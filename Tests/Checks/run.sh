#!/bin/bash
# Builds and runs every Swift test, then the checks that are no Swift tests, and ends with the line
# "N passed, N failed"; fails if anything failed or nothing ran. `make test` calls it.
#
# As root or with sudo. SWIFT: the toolchain's command. SCRATCH: where to build; the whole output is kept there in test.log, what each test
# came to in test-events.jsonl.
set -euo pipefail
cd "$(dirname "$0")/../.."
SWIFT=${SWIFT:-swift}
SCRATCH=$(realpath -m "${SCRATCH:-.build}")
# Namespaces and XDP programs need root. What is built belongs to the caller afterwards.
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "the tests need root, and there is no sudo" >&2; exit 77; }
  exec sudo env PATH="$PATH" SWIFT="$SWIFT" SCRATCH="$SCRATCH" ${SLUICE_TEST_SEED+"SLUICE_TEST_SEED=$SLUICE_TEST_SEED"} "$0"
fi
trap '[ -z "${SUDO_UID-}" ] || chown -R "$SUDO_UID:$SUDO_GID" "$SCRATCH"' EXIT
. Tests/Checks/clean-environment.sh
export SWIFT_DETERMINISTIC_HASHING=1
mkdir -p "$SCRATCH"
log=$SCRATCH/test.log
events=$SCRATCH/test-events.jsonl
passed=0
failed=0
: >"$log"
rm -f "$events"

finish() {
  [ "$failed" -eq 0 ] || echo "full log: $log"
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
  exit
}

# check NAME COMMAND…: one check that passes or fails as a whole.
check() {
  local name=$1 start=$SECONDS output
  shift
  echo "== $name" >>"$log"
  if output=$("$@" 2>&1 </dev/null); then
    passed=$((passed + 1))
    echo "✔ $name ($((SECONDS - start)) s)"
  else
    failed=$((failed + 1))
    printf '✘ %s\n%s\n' "$name" "$output"
  fi
  printf '%s\n' "$output" >>"$log"
}

echo "building; this takes minutes in a fresh clone"
if ! "$SWIFT" build --build-tests --scratch-path "$SCRATCH" </dev/null 2>&1 | tee -a "$log"; then
  failed=$((failed + 1))
  finish
fi

# One test at a time: hundreds at once, with databases, daemons and namespaces, starve each other on two cores until the
# deadlines that they check are missed. Started and passed tests go to the log alone, suites and failures to the console too.
echo "testing"
status=0
"$SWIFT" test --skip-build --disable-xctest --no-parallel --scratch-path "$SCRATCH" \
  --event-stream-output-path "$events" --event-stream-version 0 </dev/null 2>&1 \
  | tee -a "$log" | grep --line-buffered -vE '^(◇|✔ Test|↳)|^\s*$' || status=${PIPESTATUS[0]}
[ -s "$events" ] || : >"$events"

# A test that a crash cut off has started and not ended; the crash may have cut the last line off, too. What was wrong is
# told again at the end, where a reader of the last lines alone finds it.
jq -nrR '
  [inputs | fromjson?] as $records
  | [$records[] | select(.kind == "test" and .payload.kind == "function") | .payload.id] as $tests
  | [$records[] | select(.kind == "event") | .payload | select(.testID | IN($tests[]))] as $events
  | [$events[] | select(.kind == "testStarted") | .testID] as $started
  | [$events[] | select(.kind == "testEnded") | .testID] as $ended
  | [$events[] | select(.kind == "issueRecorded" and (.issue.isKnown | not))] as $issues
  | ([$issues[] | .testID] | unique) as $wrong
  | ($started - $ended) as $cut
  | ($ended - ($ended - $wrong)) as $lost
  | "\(($ended | length) - ($lost | length)) \(($lost | length) + ($cut | length))",
    ($events[] | select(.kind == "testSkipped") | "skipped: \(.testID)"),
    ($cut[] | "never ended: \(.)"),
    ($lost[] | . as $id | "failed: \(.)",
      ($issues[] | select(.testID == $id) | "  line \(.issue.sourceLocation.line): \([.messages[].text] | join("; ") | .[:600])"))
    ' "$events" >"$SCRATCH/test-result"
read -r passed failed <"$SCRATCH/test-result"
tail -n +2 "$SCRATCH/test-result"
if [ "$failed" -eq 0 ] && { [ "$status" -ne 0 ] || [ "$passed" -eq 0 ]; }; then
  echo "swift test ended with $status after $passed passed tests and no failed one"
  failed=1
fi
bin=$("$SWIFT" build --show-bin-path --scratch-path "$SCRATCH")

check "generated gRPC code is what the proto files make" \
  env SWIFT_BUILD_OPTIONS="--scratch-path $SCRATCH" Sources/ControlProtocol/Protos/generate.sh --check
check "a packet costs no more instructions than allowed, and the hot loops call nothing forbidden" \
  env SWIFT="$SWIFT" SCRATCH="$SCRATCH" Tests/Checks/ring-cost.sh
check "the release code of the hot path calls nothing forbidden" \
  env SWIFT="$SWIFT" SCRATCH="$SCRATCH" Tests/Checks/hot-path.sh
check "the program decides as the reference classifier and libpcap do" \
  env SWIFT="$SWIFT" SCRATCH="$SCRATCH" Tests/Checks/exactness.sh
check "the rings have their barriers on arm64" env SWIFT="$SWIFT" Tests/Checks/arm64.sh
check "schemathesis finds no fault in the API, whoever calls" \
  Tests/Checks/schemathesis/run.sh "$bin" "$SCRATCH"
check "make install puts everything in place, and keeps a changed configuration" \
  Tests/Checks/install.sh "$bin"
check "systemd accepts the units, users and folders" Tests/Checks/units.sh "$bin"
finish
