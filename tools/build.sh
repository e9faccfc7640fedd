#!/usr/bin/env bash
# Compiles every package, and removes compiled files whose source is gone (a deleted test must not go on running).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
pnpm exec tsc --build
# The commit that this build was made from, for --version and /health. An image is built without the repository: it is told.
commit=${SENDENSE_COMMIT:-}
if [ -z "$commit" ]; then
  commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
  [ -z "$(git status --porcelain 2>/dev/null | head -1)" ] || commit=$commit-dirty
fi
printf '{"commit":"%s"}\n' "$commit" >packages/runtime/dist/build.json
find packages services deploy -name node_modules -prune -o -type f -path '*/dist/*' \( -name '*.js' -o -name '*.d.ts' \) -print | while read -r built; do
  source=${built/\/dist\//\/}
  source=${source%.js}
  source=${source%.d.ts}
  [ -f "$source.ts" ] || rm -f "$built" "$built.map"
done
