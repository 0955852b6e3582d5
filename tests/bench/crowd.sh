#!/usr/bin/env bash
# crowd.sh BIN-FOLDER: crowds before the edge of BIN-FOLDER; markdown tables on stdout.
# BIN-FOLDER is what `cargo build --workspace --bins --examples` fills: the load comes from its examples/.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$1
"$bin/examples/crowd"
