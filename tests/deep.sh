#!/usr/bin/env bash
# deep.sh REPORT: the tests that `make test` runs briefly, run for long; their figures go to REPORT.
set -euo pipefail
cd "$(dirname "$0")/.."
report=$1
out=$(mktemp)
trap 'rm -f "$out"' EXIT
rows=
run() { # WHAT BINARY:TESTS VARIABLE=VALUE...
  local what=$1 test=$2; shift 2
  timed "$what" "$*" env "$@" cargo test --workspace --test "${test%%:*}" "${test#*:}" -- --nocapture
}
timed() { # WHAT HOW-MUCH COMMAND...
  local what=$1 much=$2 started=$SECONDS; shift 2
  "$@" 2>&1 | tee "$out"
  rows+="| $what | $much | $((SECONDS - started)) s |"$'\n'
}
run 'kill -9 in the middle of fills and publishes, of the edge and of the center so often each' faults:kills MODTIER_KILLS="${KILLS:-200}"
run 'kill -9 of either of two centers over PostgreSQL and S3 under publish load, so often' center:replicas MODTIER_REPLICA_KILLS="${REPLICA_KILLS:-100}"
run 'loss of power while the edge writes, so often' faults:power_loss MODTIER_POWER_CUTS="${POWER_CUTS:-200}"
run 'questions to golang.org/x/mod answered alike, so many for each operation' go:oracle::operations MODTIER_CASES="${CASES:-400000}"
run 'damaged zips judged as golang.org/x/mod/zip does' go:oracle::zips MODTIER_ZIPS="${ZIPS:-60000}"
run 'schedules of faults of Redis, syncers, edges and the log, after which every edge answers as the center does' sync:model MODTIER_SCHEDULES="${SCHEDULES:-100}"
simulations=${SIMULATIONS:-10000}
timed 'the same in simulated time' "MODTIER_SIMULATIONS=$simulations" env MODTIER_SIMULATIONS="$simulations" cargo test --workspace --lib sync::simulation -- --nocapture
seconds=${FUZZ_SECONDS:-300}
timed 'paths, tenants, cache keys, ranges, conditions and headers fuzzed, so long each, side by side' "MODTIER_FUZZ_SECONDS=$seconds" \
  env MODTIER_FUZZ_SECONDS="$seconds" cargo test --workspace --bin modtier-edge --test hostile -- fuzz --nocapture --test-threads 8
{
  echo "# Deep tests"
  echo
  echo "Written by \`make deep\`. Each line passed."
  echo
  echo "| what | how much | took |"
  echo "|---|---|---|"
  printf '%s' "$rows"
} >"$report"
