#!/usr/bin/env bash
# Runs jest on the compiled tests; arguments go to jest. Ends with the line of counts.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
results=$(mktemp)
trap 'rm -f "$results"' EXIT
# A thousand programs are started in the tests: each finds what the one before it has compiled.
export NODE_COMPILE_CACHE="${NODE_COMPILE_CACHE:-${SENDENSE_TOOLS_DIR:-$PWD/.tools}/compiled}"
NODE_OPTIONS="${NODE_OPTIONS:-} --experimental-vm-modules --enable-source-maps --disable-warning=ExperimentalWarning" \
  pnpm exec jest --json --outputFile="$results" "$@" >/dev/null
status=$?
node -e '
  const r = JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"));
  const broken = r.testResults.filter((s) => s.status === "failed" && s.assertionResults.every((a) => a.status !== "failed")).length;
  console.log(`${r.numPassedTests} passed, ${r.numFailedTests + broken} failed, ${r.numPendingTests + r.numTodoTests} skipped`);
' "$results" || { echo "0 passed, 1 failed, 0 skipped"; exit 1; }
exit $status
