#!/usr/bin/env bash
# all.sh BIN-FOLDER REPORT: every bench, one after another; each owns a section of REPORT.
set -euo pipefail
cd "$(dirname "$0")"
bin=$1 report=$2
. ./report.sh
./hits.sh "$bin" "$report"
for bench in million crowd closure sync choice center storage; do
  echo "== $bench" >&2
  { printf '%s.\n\n' "$(machine)"; ./$bench.sh "$bin"; } | tee /dev/stderr | put_section "$report" "$bench"
done
