#!/usr/bin/env bash
# Choice of center: how long until a center in trouble is left and until it is returned to, beside the plain mean of ten
# probes. Prints a Markdown table. It is a simulation in simulated time with the edge's own choice, breaker and budget, so
# it takes a second and says the same on every machine: see edge/src/upstream/simulation.rs.
set -euo pipefail
cd "$(dirname "$0")/../.."

echo "### Choice of center"
echo
echo "A answers in 20 ms, B in 100 ms, ten requests a second; A is in trouble for two minutes."
echo "Simulated time, commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)."
echo
cargo test --quiet --workspace --bin modtier-edge -- --exact --nocapture \
  upstream::simulation::choice_of_center_leaves_and_returns | grep '^|'
