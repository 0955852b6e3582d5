#!/usr/bin/env bash
# What a start of the center and the manifest of one changed module cost with a million versions, beside ten thousand. It is a test
# of the storage itself: see center/src/store/conformance/scale.rs. VERSIONS sets another number. Prints a Markdown table.
set -euo pipefail
cd "$(dirname "$0")/../.."

echo "### Storage of a center"
echo
echo "RocksDB in a directory, commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown). A hundredfold would be linear."
echo
echo "| what | few | many | growth |"
echo "|---|---|---|---|"
MODTIER_VERSIONS=${VERSIONS:-1000000} cargo test --quiet --release --package modtier-center --bin modtier-center -- --exact --nocapture \
  store::conformance::scale::a_start_and_a_manifest_do_not_cost_what_everything_costs | grep '^|'
