#!/usr/bin/env bash
# Makes a fresh Debian 12 and 13, each with systemd as its init, for the tests that install the packages:
#   tools/debian-roots.sh DIR MIRROR   → DIR/bookworm, DIR/trixie
# openssl is for the lab. What the packages depend on is downloaded into them but not installed: the tests have no network.
set -euo pipefail
dir=$1 mirror=$2
mkdir -p "$dir"

make_root() {
  local suite=$1 components=$2 root=$dir/$1.partial
  shift 2
  rm -rf "$root" "${dir:?}/$suite"
  debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,openssl "$suite" "$root" "$mirror" || return 1
  echo "deb $mirror $suite $components" >"$root/etc/apt/sources.list"
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  chroot "$root" apt-get update -qq || return 1
  chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --download-only --no-install-recommends "$@" || return 1
  # Nothing is fetched from here on, and a name that cannot be resolved is known at once.
  rm "$root/etc/resolv.conf"
  mv "$root" "$dir/$suite"
}

make_root trixie 'main contrib' qemu-utils nbdkit nbdkit-plugin-vddk >"$dir/trixie.log" 2>&1 &
first=$!
make_root bookworm main qemu-utils nbdkit >"$dir/bookworm.log" 2>&1 || failed=bookworm
wait "$first" || failed=trixie
if [ -n "${failed:-}" ]; then
  tail -20 "$dir/$failed.log" >&2
  exit 1
fi
