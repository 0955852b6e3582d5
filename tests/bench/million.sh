#!/usr/bin/env bash
# million.sh BIN-FOLDER [FOLDER]: an edge that holds a million entries: how long it takes to start, its memory, and its hits against
# those of a thousand entries. Prints a table. The center is tests/examples/million.rs: no network. Filling takes minutes: FOLDER keeps
# what was filled for the next time.
#   ENTRIES   how many (1000000)      BENCH_SECONDS   of each measurement (5)
#   ALONE     a command that has the machine to itself while it runs the words that follow it; only hits are measured under it
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$1 folder=${2:-} entries=${ENTRIES:-1000000} seconds=${BENCH_SECONDS:-5} rounds=3
work=$(mktemp -d)
[ -n "$folder" ] || folder=$work
center= edge=
end() { [ -z "$1" ] || { kill "$1" && wait "$1"; } 2>/dev/null || true; }
stop() { end "$edge"; end "$center"; rm -rf "$work"; }
trap stop EXIT
say() { printf '%s\n' "$*" >&2; }

await() { # SECONDS COMMAND...
  local deadline=$((SECONDS + $1)); shift
  until "$@" 2>/dev/null; do [ $SECONDS -lt $deadline ] || { say "million: not within the time: $*"; tail -n 5 "$work"/*.log >&2; exit 1; }; sleep 0.01; done
}
now_ms() { date +%s%3N; }
launch() { # MEMORY LISTEN ADMIN WORDS...: sets edge
  local memory=$1 at=$2 admin_at=$3; shift 3
  rm -f "$work/edge.json"
  MODTIER_EDGE_LISTEN=$at MODTIER_EDGE_ADMIN=$admin_at MODTIER_EDGE_DATA_DIR=$folder/data MODTIER_EDGE_CENTERS=http://$(cat "$work/center") \
    MODTIER_EDGE_CACHE_MEMORY_BYTES_MAX=$memory MODTIER_EDGE_LIMITS_CLIENT_FILLS=0 MODTIER_EDGE_LOG_LEVEL=warn,access=info \
    "$bin/modtier-edge" --announce "$work/edge.json" "$@" >>"$work/edge.log" 2>&1 &
  edge=$!
}
start_edge() { # MEMORY: sets listen, admin, ready_ms
  local began; began=$(now_ms)
  launch "$1" 127.0.0.1:0 127.0.0.1:0
  await 120 test -e "$work/edge.json"
  listen=$(jq -r .listen "$work/edge.json") admin=$(jq -r .admin "$work/edge.json")
  await 120 curl -fsS -o /dev/null "http://$admin/readyz"
  await 10 curl -fsS -o /dev/null "http://$listen/bench.example/n0/@v/v1.0.0.info"
  ready_ms=$(($(now_ms) - began))
}
hand_over() { # MEMORY: another process takes over; sets refused, and the longest that anybody waited meanwhile
  local old=$edge took
  refused=0 longest=0
  launch "$1" "$listen" "$admin" --take-over
  # To the end of the old process, each request on a connection of its own.
  while kill -0 "$old" 2>/dev/null || [ ! -s "$work/edge.json" ]; do
    took=$(curl -fsS -m 60 -o /dev/null -w '%{time_total}' "http://$listen/bench.example/n0/@v/v1.0.0.info") || refused=$((refused + 1))
    longest=$(printf '%s\n' "$longest" "$took" | sort -g | tail -n 1)
  done
  wait "$old" || { say "million: the edge that was followed ended with $?"; exit 1; }
}
stop_edge() { end "$edge"; edge=; }
rss_mib() { awk '/VmRSS/ { print int($2 / 1024) }' "/proc/$edge/status"; }
idle() { # until the edge has used less than a tenth of a core for a second: what it does behind after a start is done
  local before after
  while :; do
    before=$(awk '{ print $14 + $15 }' "/proc/$edge/stat"); sleep 1; after=$(awk '{ print $14 + $15 }' "/proc/$edge/stat")
    [ $((after - before)) -lt 10 ] && return
  done
}
hits() { # KEYS -> hits a second
  local result
  result=$(KEYS=$1 ${ALONE:-} wrk -t2 -c64 -d"${seconds}s" -s tests/bench/million.lua "http://$listen" | awk '/^RESULT/ { print $2, $3 }')
  [ "${result#* }" = 0 ] || { say "million: ${result#* } requests failed"; exit 1; }
  printf '%s\n' "${result% *}"
}
median() { sort -g | sed -n "$(((rounds + 1) / 2))p"; }
ratio() { awk "BEGIN { printf \"%.2f\", $1 / $2 }"; }
compare() { # NAME: sets few and many
  : >"$work/few" >"$work/many"
  for _ in $(seq $rounds); do hits 1000 >>"$work/few"; hits "$entries" >>"$work/many"; done
  few=$(median <"$work/few") many=$(median <"$work/many")
}
row() { printf '| %s | %s | %s |\n' "$@"; }

fill() {
  local began; began=$(now_ms)
  start_edge 64MiB
  say "filling $entries entries"
  "$bin/examples/million" ask "$listen" 0 "$entries" 64
  stop_edge
  echo $((entries * 1000 / ($(now_ms) - began))) >"$folder/filled"
}

measure() {
  echo '| an edge with one million entries | measured | at least |'
  echo '|---|---|---|'
  [ "$entries" = 1000000 ] || say "million: $entries entries only"
  row "filling it over 64 connections, entries a second" "$(cat "$folder/filled")" ''
  row 'on disk, MiB' "$(du -sm "$folder/data" | cut -f1)" ''

  start_edge 64MiB
  held=$(curl -fsS "http://$admin/metrics" | awk '/^modtier_cache_objects{tier="disk"}/ { print int($2) }')
  [ "$held" = "$entries" ] || { say "million: $held entries are held, not $entries"; exit 1; }
  row 'restart to the first hit, s' "$(awk "BEGIN { printf \"%.2f\", $ready_ms / 1000 }")" 'seconds'
  idle
  row 'resident memory after the start, 64 MB memory tier, MiB' "$(rss_mib)" '≤ 256'
  "$bin/examples/million" ask "$listen" 0 "$entries" 64
  compare
  row 'resident memory after two million hits all over, 64 MB memory tier, MiB' "$(rss_mib)" '≤ 256'
  row 'hits a second, 1,000 entries, 64 MB memory tier' "$few" ''
  row 'hits a second, all entries, 64 MB memory tier (most lie on disk)' "$many" ''
  row 'their ratio' "$(ratio "$many" "$few")" 'printed'
  stop_edge

  start_edge 1GiB
  "$bin/examples/million" ask "$listen" 0 "$entries" 64
  compare
  row 'hits a second, 1,000 entries, 1 GB memory tier' "$few" ''
  row 'hits a second, all entries, 1 GB memory tier' "$many" ''
  row 'their ratio' "$(ratio "$many" "$few")" '0.80'
  row 'resident memory with all entries in memory, MiB' "$(rss_mib)" 'printed'
  hand_over 1GiB
  row 'hand-over with all entries: requests that failed' "$refused" '0'
  row 'the longest that one of them waited, s' "$longest" 'printed'
}

"$bin/examples/million" center "$work/center" 2>"$work/center.log" &
center=$!
await 20 test -e "$work/center"
[ -e "$folder/filled" ] || fill
measure
