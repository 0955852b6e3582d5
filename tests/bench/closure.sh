#!/usr/bin/env bash
# closure.sh BIN-FOLDER: the closure of client-go, fetched by `go` through an edge and made warm by the syncer; markdown tables on
# stdout. BIN-FOLDER is what `cargo build --workspace --bins --examples` fills.
#   BENCH_ROUNDS (3)
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$1
"$bin/examples/closure"
