#!/usr/bin/env bash
# Everything that can be known without running the product. Each step says what it checks; all run, then the exit code tells.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
failed=()
step() {
  local name=$1
  shift
  printf '· %s\n' "$name"
  "$@" || failed+=("$name")
}
# On one core for as long as everything else takes together.
formatting=$(mktemp)
pnpm exec prettier --check --log-level warn . '!.{tools,demo,images}' >"$formatting" 2>&1 &
formatter=$!
formatted() {
  wait "$formatter"
  local status=$?
  cat "$formatting"
  rm -f "$formatting"
  return $status
}
step 'lint (type-aware)' pnpm exec oxlint --type-aware --deny-warnings packages services deploy tools
step 'layers between packages' node tools/check-layers.mjs
step 'contracts: buf lint' bash -c 'cd proto && pnpm exec buf lint'
step 'contracts: breaking changes' node tools/check-breaking.mjs
step 'generated code is fresh' node tools/check-generated.mjs
step 'format' formatted
if [ ${#failed[@]} -gt 0 ]; then
  printf 'check failed: %s\n' "${failed[@]}" >&2
  exit 1
fi
echo 'check passed'
