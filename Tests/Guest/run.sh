#!/bin/bash
# `make test-guest`, as root: what needs other hardware than a veth. Boots small virtual machines with NICs whose drivers do
# zero-copy AF_XDP (igb, virtio-net), with drivers that don't (e1000e, vmxnet3), and with two NUMA nodes and huge pages, and
# runs Tests/GuestProbe in them. Ends with "N passed, N failed".
#
# SCRATCH: where to build and to keep the downloads. KERNEL_SUITE: Debian suite of the guests' kernel.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cd "$here/../.."
SCRATCH=$(realpath -m "${SCRATCH:-.build}")
work=$SCRATCH/guest
mkdir -p "$work"
passed=0
failed=0

say() { echo "== $*"; }

# ---- Tools, kernel, probe --------------------------------------------------------------------------------------------

mirror() { awk '/^URIs:/ { print $2; exit } /^deb / { print $2; exit }' /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null; }

# The igb device came with QEMU 8, which Debian 12 has in its backports. That list is used for this call only.
install_tools() {
  local missing=() package
  for package in busybox-static cpio kmod xz-utils numactl iproute2; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    say "installing ${missing[*]}"
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" >"$work/apt.log"
  fi
  if qemu-system-x86_64 -device help 2>/dev/null | grep -q '"igb"'; then return; fi
  say "installing QEMU from backports"
  mkdir -p "$work/apt/lists/partial"
  local suite
  for suite in bookworm bookworm-updates bookworm-backports; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) $suite main"
  done >"$work/apt/sources.list"
  local options=(
    -o "Dir::Etc::sourcelist=$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$work/apt/lists" -o APT::Sandbox::User=root -o Acquire::Languages=none)
  apt-get -qq "${options[@]}" update
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends "${options[@]}" -t bookworm-backports \
    install qemu-system-x86 >"$work/apt.log"
}

# In the order in which they are loaded.
modules=(i2c-algo-bit dca igb e1000e failover net_failover virtio_net vmxnet3 veth)

# Debian's newest kernel of the suite and the modules above, downloaded and not installed. Zero-copy needs 6.14 for igb and
# 6.13 for virtio-net.
fetch_kernel() {
  local kernel=$work/kernel suite=${KERNEL_SUITE:-trixie-backports} release packages module file
  [ ! -e "$kernel/release" ] || return 0
  say "fetching a kernel of $suite"
  local temporary
  temporary=$(mktemp -d)
  mkdir -p "$temporary"/lists/partial "$temporary"/cache/archives/partial "$temporary"/x "$kernel/modules"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) $suite main" >"$temporary/sources.list"
  cat >"$temporary/apt.conf" <<CONF
Dir::Etc::sourcelist "$temporary/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "$temporary/lists";
Dir::Cache "$temporary/cache";
Acquire::Languages "none";
APT::Sandbox::User "root";
CONF
  (
    export APT_CONFIG=$temporary/apt.conf
    cd "$temporary"
    apt-get -qq update
    release=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: linux-image-\([0-9].*\)/\1/p' | tail -n 1)
    packages="linux-image-$release"
    # Newer ones are split.
    if apt-cache show "linux-binary-$release" >/dev/null 2>&1; then
      packages="linux-binary-$release linux-modules-$release"
    fi
    # shellcheck disable=SC2086
    apt-get -qq download $packages
    for file in *.deb; do dpkg-deb -x "$file" x; done
    cp "$(find x -name 'vmlinuz*' | head -n 1)" "$kernel/vmlinuz"
    for module in "${modules[@]}"; do
      file=$(find x -name "$module.ko*" | head -n 1)
      case $file in
        *.xz) xz -dc "$file" ;;
        *.zst) zstd -dcq "$file" ;;
        ?*) cat "$file" ;;
        *) echo "no module $module in $release" >&2; exit 1 ;;
      esac >"$kernel/modules/$module.ko"
    done
    echo "$release" >"$kernel/release"
  )
  rm -rf "$temporary"
}

# An initramfs: busybox, the modules, the probe with its libraries, and what runs it.
make_image() {
  local root=$work/root file library
  rm -rf "$root"
  mkdir -p "$root"/{bin,sbin,dev,proc,sys,run,tmp,modules,usr/bin,usr/sbin}
  cp /bin/busybox "$root/bin/busybox"
  cp "$here/guest-init" "$root/init"
  cp "$here/guest-test" "$root/test"
  chmod 755 "$root/init" "$root/test"
  cp "$work"/kernel/modules/*.ko "$root/modules/"
  printf '%s.ko\n' "${modules[@]}" >"$root/modules/order"
  for file in "$probe:/guest-probe" "$(command -v ip):/bin/ip" "$(command -v ethtool):/bin/ethtool"; do
    install -D -m 755 "${file%%:*}" "$root${file#*:}"
    { ldd "${file%%:*}" 2>/dev/null || true; } | grep -oE '/[^ ]+' | while read -r library; do
      [ -e "$root$library" ] || install -D -m 755 "$(readlink -f "$library")" "$root$library"
    done
  done
  (cd "$root" && find . -print0 | LC_ALL=C sort -z | cpio --quiet --null -o -H newc -R 0:0) >"$work/image.cpio"
}

# ---- Guests ----------------------------------------------------------------------------------------------------------

# guest NAME KERNEL-ARGUMENTS QEMU-OPTIONS…
guest() {
  local name=$1 arguments=$2 log=$work/$1.log
  shift 2
  say "guest $name"
  timeout -k 5 300 qemu-system-x86_64 -accel tcg,thread=multi -machine q35 -cpu max -nodefaults -no-user-config \
    -display none -no-reboot -serial stdio -kernel "$work/kernel/vmlinuz" -initrd "$work/image.cpio" \
    -append "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off $arguments" "$@" </dev/null 2>&1 \
    | tr -d '\r' >"$log" || true
  grep -E '^(ok|FAIL) ' "$log" || true
  passed=$((passed + $(grep -c '^ok ' "$log" || true)))
  failed=$((failed + $(grep -c '^FAIL ' "$log" || true)))
  if ! grep -q '^guest done$' "$log"; then
    failed=$((failed + 1))
    echo "FAIL $name: the guest did not finish; the end of $log:"
    tail -n 15 "$log"
  fi
}

# Two NICs of a model on one hub, so that what one sends the other receives; NIC 0 below a host bridge of NUMA node 0, NIC 1 of 1.
numa_nics() {
  nics=(
    -m 1024 -smp 4,sockets=2,cores=2
    -object memory-backend-ram,id=m0,size=512M -object memory-backend-ram,id=m1,size=512M
    -numa node,nodeid=0,cpus=0-1,memdev=m0 -numa node,nodeid=1,cpus=2-3,memdev=m1 -numa dist,src=0,dst=1,val=21
    -netdev hubport,id=n0,hubid=0 -netdev hubport,id=n1,hubid=0
    -device pxb-pcie,id=pxb0,bus=pcie.0,bus_nr=0x40,numa_node=0
    -device pxb-pcie,id=pxb1,bus=pcie.0,bus_nr=0x80,numa_node=1
    -device pcie-root-port,id=rp0,bus=pxb0,chassis=1 -device pcie-root-port,id=rp1,bus=pxb1,chassis=2
    -device "$1,id=dev0,bus=rp0,netdev=n0,mac=52:54:00:00:00:01"
    -device "$1,id=dev1,bus=rp1,netdev=n1,mac=52:54:00:00:00:02")
}

# Drivers without zero-copy: virtio-net without an IOMMU platform has no DMA API.
copying_nics() {
  nics=(
    -m 512 -smp 2
    -netdev hubport,id=n0,hubid=0 -netdev hubport,id=n1,hubid=0 -netdev hubport,id=n2,hubid=0
    -device e1000e,netdev=n0,mac=52:54:00:00:00:01 -device vmxnet3,netdev=n1,mac=52:54:00:00:00:02
    -device virtio-net-pci,netdev=n2,mac=52:54:00:00:00:03)
}

[ "$(id -u)" = 0 ] || exec sudo SCRATCH="$SCRATCH" "$0" "$@"
install_tools
fetch_kernel
say "building the probe"
export SWIFT_DETERMINISTIC_HASHING=1
${SWIFT:-swift} build -c release --scratch-path "$SCRATCH" --static-swift-stdlib --product guest-probe
probe=$(${SWIFT:-swift} build -c release --scratch-path "$SCRATCH" --show-bin-path)/guest-probe
make_image

numa_nics igb
guest igb "probe=zero-copy nics=igb" "${nics[@]}"
numa_nics virtio-net-pci,iommu_platform=on,disable-legacy=on,rx_queue_size=1024
guest virtio-net "probe=zero-copy nics=virtio_net" "${nics[@]}"
copying_nics
guest copying "probe=copying nics=e1000e,vmxnet3,virtio_net" "${nics[@]}"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
