#!/usr/bin/env bash
# Runs jest on the compiled tests; arguments go to jest. Ends with the line of counts.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
results=$(mktemp)
place=
trap 'rm -rf "$results" ${place:+"$place"}' EXIT

# What the tests write is in memory where there is plenty: every catalogue and image waits for its disk otherwise. The
# containers and the installed packages have theirs on the machine's own file system all the same.
NEEDED_MIB=6144
free_mib() { df --block-size=1M --output=avail /dev/shm 2>/dev/null | tail -1 | grep . || echo 0; }
available_mib() { awk '$1 == "MemAvailable:" { print int($2 / 1024) }' /proc/meminfo; }
if [ -z "${TMPDIR:-}" ] && [ "$(free_mib)" -gt $NEEDED_MIB ] && [ "$(available_mib)" -gt $((NEEDED_MIB * 3 / 2)) ]; then
  # Short, for the sockets in it; open, for what runs as another user.
  place=$(mktemp -d /dev/shm/sd.XXX)
  chmod 1777 "$place"
  export TMPDIR=$place
fi
# A thousand programs are started in the tests: each finds what the one before it has compiled.
export NODE_COMPILE_CACHE="${NODE_COMPILE_CACHE:-${SENDENSE_TOOLS_DIR:-$PWD/.tools}/compiled}"

# Source maps are for jest alone: each of those programs would take a tenth longer to start with them.
NODE_OPTIONS="${NODE_OPTIONS:-} --disable-warning=ExperimentalWarning" \
  node --experimental-vm-modules --enable-source-maps node_modules/jest/bin/jest.js --json --outputFile="$results" "$@" >/dev/null
status=$?
# What failed is said again at the end, in a line each: a record that is cut off in the middle still tells.
node -e '
  const r = JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"));
  const { relative } = require("node:path");
  let broken = 0;
  for (const { name, status, message, assertionResults } of r.testResults.filter((s) => s.status === "failed")) {
    const failed = assertionResults.filter((a) => a.status === "failed");
    const file = relative(process.cwd(), name);
    for (const { fullName } of failed) console.log(`failed: ${file}: ${fullName}`);
    if (failed.length > 0) continue;
    broken++;
    console.log(`failed: ${file}: ${message.split("\n").find((line) => line.trim() !== "") ?? "does not load"}`);
  }
  console.log(`${r.numPassedTests} passed, ${r.numFailedTests + broken} failed, ${r.numPendingTests + r.numTodoTests} skipped`);
' "$results" || { echo "0 passed, 1 failed, 0 skipped"; exit 1; }
exit $status
