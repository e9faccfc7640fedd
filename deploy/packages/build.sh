#!/usr/bin/env bash
# Builds the Debian packages of hub and node: deploy/packages/build.sh [--out DIR] [--version V] [--fast]
# What is in them is what tools/assemble.sh makes; --fast compresses less.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
cd "$ROOT"
out=$HERE/out version='' level=12
while [ $# -gt 0 ]; do
  case $1 in
    --out) out=$(realpath -m "$2") && shift 2 ;;
    --version) version=$2 && shift 2 ;;
    --fast) level=1 && shift ;;
    *)
      echo "usage: ./dev packages [--out DIR] [--version V] [--fast]" >&2
      exit 2
      ;;
  esac
done
if [ -z "$version" ]; then version=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' package.json); fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022

# fill FILE TARGET [MODE]: copies a file, with @name@ replaced by what it is in this package.
fill() {
  sed -e "/^@common@\$/{r $HERE/common.service
d}" -e "/^@next@\$/{r $HERE/$role/next
d}" -e "s|@package@|$package|g; s|@role@|$role|g; s|@user@|$user|g; s|@env@|$role.env|g" \
    -e "s|@home@|/var/lib/$user|g; s|@program@|${program:-}|g; s|@kept@|$kept|g" "$1" >"$work/filled"
  install -D -m "${3:-644}" "$work/filled" "$2"
}

build() {
  role=$1 package=sendense-$1 user=$2 kept=$3 root=$work/$1
  shift 3
  tools/assemble.sh --built "$role" "$root/usr/lib/$package"
  for program in "$@"; do fill "$HERE/wrapper.sh" "$root/usr/bin/$program" 755; done
  if [ "$role" = hub ]; then ln -s ../lib/sendense-hub/bin/sendense "$root/usr/bin/sendense"; fi
  fill "$HERE/$role/$package.service" "$root/usr/lib/systemd/system/$package.service"
  fill "$HERE/$role/sysusers.conf" "$root/usr/lib/sysusers.d/$package.conf"
  fill "$HERE/$role/tmpfiles.conf" "$root/usr/lib/tmpfiles.d/$package.conf"
  fill "$HERE/$role/$role.env" "$root/etc/sendense/$role.env" 640
  fill "$HERE/copyright" "$root/usr/share/doc/$package/copyright"
  for script in postinst prerm postrm; do fill "$HERE/maintainer/$script" "$root/DEBIAN/$script" 755; done
  echo "/etc/sendense/$role.env" >"$root/DEBIAN/conffiles"
  {
    cat "$HERE/$role/control"
    echo "Version: $version"
    echo "Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)"
  } >"$root/DEBIAN/control"
  (cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) >"$work/md5sums"
  install -m 644 "$work/md5sums" "$root/DEBIAN/md5sums"
  mkdir -p "$out"
  dpkg-deb --root-owner-group -Zzstd -z"$level" --build "$root" "$out/${package}_${version}_amd64.deb" >/dev/null
  du -h "$out/${package}_${version}_amd64.deb"
}

build hub sendense 'the catalogue and the keys in /var/lib/sendense, and every repository' sendense-hub
build node sendense-node "the node's enrolment and key in /var/lib/sendense-node" sendense-node sendense-backup-client
