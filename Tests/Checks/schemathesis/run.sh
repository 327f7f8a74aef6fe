#!/bin/bash
# Walks the served OpenAPI document with schemathesis, every check on, as an account of each role in turn, as a member of one
# team who edits one more rule set, and as an API client with few scopes, which may come from here only: for SECONDS_EACH seconds
# each. What the last two are answered must be within their reach: reach.py. run.sh BIN SCRATCH. A daemon with a pair of interfaces answers for the node. All three are in
# a network namespace of their own: the webhooks that are made at random reach nobody. The virtual environment is kept in
# SCRATCH between runs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=$(realpath "$1")
scratch=$(realpath "$2")
seconds=${SECONDS_EACH:-25}
seed=${SEED:-1}
venv=$scratch/schemathesis
folder=$(mktemp -d)
namespace=sluice-st-$$
pids=()

stop() {
  [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
  [ ${#pids[@]} -eq 0 ] || wait "${pids[@]}" 2>/dev/null || true
  pids=()
}
finish() {
  stop
  umount "$folder/bpf" 2>/dev/null || true
  ip netns delete "$namespace" 2>/dev/null || true
  rm -rf "$folder"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

exec 9>"$scratch/schemathesis.lock"
flock 9
if ! [ -f "$venv/complete" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check schemathesis
  touch "$venv/complete"
fi
flock -u 9

ip netns add "$namespace"
ip -n "$namespace" link add lan0 type veth peer name lan1
ip -n "$namespace" link set lan0 up
ip -n "$namespace" link set lan1 up
ip -n "$namespace" link set lo up
cp "$here/reach.py" "$folder/"  # the configuration names it from the folder that the runs are in
mkdir "$folder/bpf"
mount -t bpf bpf "$folder/bpf"
echo 'release_mode: true' >"$folder/sluice.yaml"
export SLUICE_CONFIG=$folder/sluice.yaml SLUICE_SOCKET=$folder/sluiced.sock

# ready LOG: waits until a program says so.
ready() {
  for _ in $(seq 200); do
    ! grep -q ' ready ' "$1" || return 0
    sleep 0.05
  done
  cat "$1" >&2
  return 1
}

# Starts both programs with nothing in them.
start() {
  rm -rf "$folder/state" "$folder/api" "$folder"/*.log
  ip netns exec "$namespace" "$bin/sluiced" --set "daemon.state_directory=$folder/state" \
    --set "daemon.capture_directory=$folder/captures" --set "daemon.bpffs=$folder/bpf" --set metrics.port=0 \
    2>"$folder/sluiced.log" &
  pids+=($!)
  ready "$folder/sluiced.log"
  # The limits by number are off: they are there to stop exactly this.
  HTTP_PORT=0 DB_PATH=$folder/api/sluice.db SLUICE_TOKEN_KEYS=$folder/api/keys SLUICE_LOG=console \
    HTTP_RATE_PER_ADDRESS=0 HTTP_RATE_PER_TOKEN=0 HTTP_RATE_OF_COSTLY_ROUTES=false \
    ip netns exec "$namespace" "$bin/sluice-api" 2>"$folder/api.log" &
  pids+=($!)
  ready "$folder/api.log"
  url=http://127.0.0.1:$(sed -n 's/.* ready .*address=[^ ]*:\([0-9]*\).*/\1/p' "$folder/api.log")
}

# post PATH BODY [TOKEN [METHOD]]: `data` of the answer.
post() {
  ip netns exec "$namespace" curl -sf -m 20 -X "${4:-POST}" "$url/api/v1$1" -H 'Content-Type: application/json' -d "$2" \
    ${3:+-H "Authorization: Bearer $3"} | jq .data
}

# Things that nobody but an Admin, or whoever holds their scopes everywhere, may see: all of them have $hidden in their names.
hidden=unseen-by-others
hide() {
  post /teams "{\"name\":\"$hidden\"}" "$1" >/dev/null
  post /rule-sets "{\"name\":\"$hidden\",\"description\":\"$hidden\",\"sets\":[{\"name\":\"$hidden\",\"type\":\"ipv4_addr\"}],
    \"rules\":[{\"name\":\"$hidden\",\"action\":\"count\",\"match\":{}}]}" "$1" >/dev/null
  post /nodes "{\"name\":\"$hidden\",\"address\":\"unix:$folder/nowhere.sock\"}" "$1" >/dev/null
}

# sign_in ROLE: prints the caller's token.
sign_in() {
  local token
  token=$(post /auth/login '{"email":"admin@localhost.local","password":"admin123"}' | jq -r .access_token)
  token=$(post /auth/change-password '{"current_password":"admin123","new_password":"a long and fine password"}' \
    "$token" | jq -r .access_token)
  local roles="[\"$1\"]"
  [ "$1" != member ] && [ "$1" != client ] || roles='[]'
  post /users "{\"email\":\"role@example.org\",\"password\":\"another fine password\",\"roles\":$roles}" "$token" >/dev/null
  post /rule-sets '{"name":"edge","rules":[{"name":"one","action":"count","match":{}}]}' "$token" >/dev/null
  post /attachments '{"interface":"lan0","rule_set":"edge"}' "$token" >/dev/null
  case $1 in
    member)
      post /teams '{"name":"ops"}' "$token" >/dev/null
      post /rule-sets '{"name":"own","team":"ops","sets":[{"name":"blocked","type":"ipv4_addr"}]}' "$token" >/dev/null
      post /teams/ops/members/role@example.org '{"role":"Team Maintainer"}' "$token" PUT >/dev/null
      post /resources/rule-set/edge/grants/role@example.org '{"role":"Editor"}' "$token" PUT >/dev/null
      hide "$token"
      ;;
    client)
      local id
      id=$(post /api-clients "{\"name\":\"robot\",\"scopes\":$client_scopes,\"sources\":[\"127.0.0.0/8\"]}" "$token" | jq -r .id)
      post "/api-clients/$id/keys" '{}' "$token" | jq -r .key
      return
      ;;
  esac
  post /auth/login '{"email":"role@example.org","password":"another fine password"}' | jq -r .access_token
}

client_scopes='["rules:write", "counters:read"]'
failed=0
start
roles=$(ip netns exec "$namespace" curl -sf "$url/api/v1/openapi.json" |
  jq -r '.components.schemas.NewUser.properties.roles.items.enum[]')
[ -n "$roles" ]
stop
while read -r role; do
  start
  token=$(sign_in "$role")
  # Whoever is let in sees rule sets: a token that nothing takes would find no fault either.
  ip netns exec "$namespace" curl -sf -m 20 "$url/api/v1/rule-sets" -H "Authorization: Bearer $token" >/dev/null
  SCOPES='' HIDDEN=''
  [ "$role" != client ] || SCOPES='rules:write rules:read counters:read'
  [ "$role" != member ] || HIDDEN=$hidden
  export SCOPES HIDDEN
  echo "== $role"
  (
    cd "$folder"
    ip netns exec "$namespace" "$venv/bin/schemathesis" --config-file "$here/schemathesis.toml" \
      run "$url/api/v1/openapi.json" --url "$url" \
      --header "Authorization: Bearer $token" --checks all --phases examples,coverage,fuzzing,stateful \
      --max-time "$seconds" --max-examples 20 --seed "$seed" --generation-database none --no-color --warnings off </dev/null
  ) || failed=1
  # A fault that no answer showed.
  ! grep -E ' (ERROR|CRITICAL) ' "$folder/api.log" || failed=1
  stop
done <<<"$roles"$'\nmember\nclient'
exit "$failed"
