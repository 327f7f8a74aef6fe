#!/bin/bash
# install.sh BIN: `make install` and `make uninstall` of the programs in BIN into an empty folder.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$1
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

fail() {
  echo "$1" >&2
  exit 1
}
run() { make "$@" BIN="$bin" DESTDIR="$root" PREFIX=/opt/sluice; }

run install
expected="644 /etc/sluice/sluice.yaml
644 /lib/systemd/system/sluice-api.service
644 /lib/systemd/system/sluiced.service
644 /opt/sluice/share/bash-completion/completions/sluice
644 /opt/sluice/share/fish/vendor_completions.d/sluice.fish
644 /opt/sluice/share/zsh/site-functions/_sluice
644 /usr/lib/sysusers.d/sluice.conf
644 /usr/lib/tmpfiles.d/sluice.conf
755 /opt/sluice/lib/sluice/sluice
755 /opt/sluice/lib/sluice/sluice-api
755 /opt/sluice/lib/sluice/sluiced"
diff <(echo "$expected") <(find "$root" -type f ! -name '*.so' -printf '%m /%P\n' | sort) ||
  fail "not what should be installed"
# As on a machine where the toolchain is not, or is hidden from the unit.
runtime=$(dirname "$(ldd "$bin/sluiced" | awk '/libswiftCore/ { print $3 }')")
for program in sluice sluiced sluice-api; do
  unshare --map-root-user --mount bash -c 'mount -t tmpfs none "$1" && "$2" --help' - "$runtime" \
    "$root/opt/sluice/bin/$program" >/dev/null || fail "$program does not start without the toolchain"
done
for program in sluiced sluice-api; do
  grep -qx "ExecStart=/opt/sluice/bin/$program" "$root/lib/systemd/system/$program.service" ||
    fail "the unit of $program does not start what was installed"
done
grep -q 'sluice' "$root/opt/sluice/share/bash-completion/completions/sluice" || fail "no completions for bash"

run install
[ ! -e "$root/etc/sluice/sluice.yaml.new" ] || fail "an unchanged configuration got a second one beside it"
echo "# mine" >>"$root/etc/sluice/sluice.yaml"
run install
tail -n 1 "$root/etc/sluice/sluice.yaml" | grep -qx '# mine' || fail "a changed configuration was overwritten"
cmp -s config/sluice.yaml "$root/etc/sluice/sluice.yaml.new" || fail "the new configuration is not beside the old one"

elsewhere=$root/elsewhere
make install BIN="$bin" DESTDIR="$elsewhere" SYSCONFDIR=/opt/etc >/dev/null
for program in sluiced sluice-api; do
  grep -qx "Environment=SLUICE_CONFIG=/opt/etc/sluice/sluice.yaml" "$elsewhere/lib/systemd/system/$program.service" ||
    fail "the unit of $program does not say where its settings are"
  ! grep -q SLUICE_CONFIG "$root/lib/systemd/system/$program.service" || fail "the standard place needs no saying"
done
[ -e "$elsewhere/opt/etc/sluice/sluice.yaml" ] || fail "the settings are not where the units look"
rm -rf "$elsewhere"

run uninstall
left=$(find "$root" -type f -printf '/%P\n' | sort | tr '\n' ' ')
[ "$left" = "/etc/sluice/sluice.yaml /etc/sluice/sluice.yaml.new " ] || fail "uninstall left $left"
