#!/usr/bin/env bash
# sync.sh BIN-FOLDER: from a publish to every edge that shows it, a burst of changes, and the comparison with a large center's
# manifest; markdown tables on stdout. BIN-FOLDER is what `cargo build --workspace --bins --examples` fills.
#   EDGES (10)  ROUNDS (100)      of the publishes
#   CHANGES (50000)               of the burst
#   VERSIONS (1000000)  CHANGED (100)
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$1
echo '| from a publish to the list of the edges | measured | at most |'
echo '|---|---|---|'
"$bin/examples/visible" stream
"$bin/examples/visible" feed
echo
echo '| a burst of changes, applied by three edges | measured | bound |'
echo '|---|---|---|'
"$bin/examples/burst" stream
"$bin/examples/burst" feed
echo
echo 'The center, the syncer and Redis, which stand for other machines, run in the scheduler'"'"'s idle class here; each edge is asked once a millisecond by one client.'
echo
echo '| comparison with the manifest | bytes moved | seconds |'
echo '|---|---|---|'
"$bin/examples/manifest"
