#!/bin/bash
# units.sh BIN: systemd's own judgement of what `make install` installs. Needs no running systemd.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$1
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

fail() {
  echo "$1" >&2
  exit 1
}

# The programs where ExecStart says; the rest beside them.
make install BIN="$bin" PREFIX="$root/prefix" SYSCONFDIR="$root/etc" UNITDIR="$root/units" \
  SYSUSERSDIR="$root/sysusers.d" TMPFILESDIR="$root/tmpfiles.d" >/dev/null

# verify ends with 0 after many a warning: any line about our units is one too many. Others' units don't concern us.
for unit in sluiced sluice-api; do
  verdict=$(systemd-analyze verify --man=no "$root/units/$unit.service" 2>&1) || fail "$unit: $verdict"
  ! grep -E 'sluice|nknown|gnoring' <<<"$verdict" || fail "systemd has something against the unit of $unit"
  # A setting that the check must not overlook.
  sed 's/^NoNewPrivileges=.*/NoNewPriviledges=yes/' "$root/units/$unit.service" >"$root/units/broken.service"
  verdict=$(systemd-analyze verify --man=no "$root/units/broken.service" 2>&1) || true
  grep -q 'broken.service.*NoNewPriviledges' <<<"$verdict" || fail "systemd-analyze overlooks mistakes"
done

mkdir "$root/fresh" "$root/fresh/etc"
systemd-sysusers --root="$root/fresh" "$root/sysusers.d/sluice.conf" >/dev/null 2>&1 || fail "systemd-sysusers fails"
cut -d: -f1 "$root/fresh/etc/passwd" | sort | tr '\n' ' ' | grep -qx 'sluice sluice-api ' || fail "users are missing"
grep -qE '^sluice:[^:]*:[0-9]+:sluice-api$' "$root/fresh/etc/group" || fail "sluice-api is not in the group sluice"
mkdir -p "$root/fresh/sys/fs/bpf"
systemd-tmpfiles --root="$root/fresh" --create "$root/tmpfiles.d/sluice.conf" || fail "systemd-tmpfiles fails"
owner=$(stat -c %u "$root/fresh/sys/fs/bpf/sluice")
grep -q "^sluice:[^:]*:$owner:" "$root/fresh/etc/passwd" || fail "the folder for pins is not the daemon's"
