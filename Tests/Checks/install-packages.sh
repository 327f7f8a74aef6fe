#!/bin/bash
# install-packages.sh LOG PACKAGE…: installs those of the Debian packages that are missing, as root or with sudo, and says
# which. No question is asked, and no service among them runs afterwards or at the next boot: the tests start their own.
set -euo pipefail
log=$1
shift
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "not Debian: the equivalents of these must be there: $*" >&2
  exit 0
fi
mapfile -t missing < <(comm -13 \
  <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p' | sort -u) \
  <(printf '%s\n' "$@" | sort -u))
[ ${#missing[@]} -gt 0 ] || exit 0
[ ${#sudo[@]} -eq 0 ] || command -v sudo >/dev/null || { echo "missing: ${missing[*]}; install them as root" >&2; exit 77; }
echo "deps: installing ${missing[*]}"
mkdir -p "$(dirname "$log")"

# What a package asks before it starts a service (policy-rc.d(8)). It forbids as long as this script runs, so one that is
# left behind by a kill does no harm.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\n# Of the installation of packages by Sluice.\n[ ! -d /proc/%s ] || exit 101\n' $$ |
    "${sudo[@]}" install -m 0755 /dev/stdin "$policy"
  trap '"${sudo[@]}" rm -f "$policy"' EXIT
  trap 'exit 130' INT TERM
fi
install() {
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    -o DPkg::Lock::Timeout=300 "${missing[@]}"
}
{ install || { "${sudo[@]}" apt-get update -q && install; }; } </dev/null >"$log" 2>&1 || {
  tail -n 30 "$log" >&2
  exit 1
}

[ -d /run/systemd/system ] || exit 0
for package in "${missing[@]}"; do
  case $package in
    postgresql-15) unit=postgresql ;;
    mariadb-server) unit=mariadb ;;
    prometheus) unit=prometheus ;;
    nfdump) unit=nfdump ;;
    *) continue ;;
  esac
  "${sudo[@]}" systemctl disable --quiet --now "$unit" 2>>"$log" || true
done
