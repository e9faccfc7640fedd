#!/usr/bin/env bash
# Removes what a build and the demo leave; --all also removes dependencies and the toolchain.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rm -rf packages/*/dist services/*/dist deploy/*/dist packages/contracts/src/gen packages/catalog/src/gen packages/lab/native/build deploy/packages/out .demo .images "${SENDENSE_TOOLS_DIR:-.tools}/compiled"
if [ "${1:-}" = --all ]; then
  rm -rf node_modules packages/*/node_modules services/*/node_modules deploy/*/node_modules "${SENDENSE_TOOLS_DIR:-.tools}"
fi
