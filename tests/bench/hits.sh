#!/usr/bin/env bash
# hits.sh BIN-FOLDER REPORT: warm hits of the edge and of nginx's cache before the same center, in turn, three rounds; prints the ratio of medians.
# Absolute figures depend on the machine and mean nothing by themselves. Modules are published to a center of the bench's own: no network.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$1 report=$2 seconds=${BENCH_SECONDS:-5} rounds=3
work=$(mktemp -d)
up= nginx=
stop() {
  [ -z "$nginx" ] || { kill "$nginx" && wait "$nginx"; } 2>/dev/null || true
  [ -z "$up" ] || { kill "$up" && wait "$up"; } 2>/dev/null || true
  rm -rf "$work"
}
trap stop EXIT

BIN=$bin DATA=$work/data EDGE=127.0.0.1:0 EDGE_ADMIN=127.0.0.1:0 CENTER=127.0.0.1:0 UPSTREAM=http://127.0.0.1:9 SUMDB=off VERIFY=off REDIS= \
  deploy/local/up.sh >"$work/up.log" 2>&1 &
up=$!
deadline=$((SECONDS + 60))
until [ -e "$work/data/run.json" ]; do
  kill -0 $up 2>/dev/null && [ $SECONDS -lt $deadline ] || { cat "$work/up.log" >&2; exit 1; }
  sleep 0.1
done
edge=$(jq -r .edge "$work/data/run.json") center=$(jq -r .center "$work/data/run.json")

# A module whose zip has 1 MB that does not compress, and whose go.mod has 20 KB.
module=bench.example/hits version=v1.0.0
root="$work/zip/$module@$version"
mkdir -p "$root"
{ printf 'module %s\n' "$module"; for i in $(seq 400); do printf '// line %03d of a go.mod that is about 20 KB long\n' "$i"; done; } >"$root/go.mod"
head -c 1000000 /dev/urandom >"$root/data.bin"
(cd "$work/zip" && zip -qr ../module.zip . -i '*.mod' '*.bin')
curl -fsS -o /dev/null -u ":$(cat "$work/data/token")" -T "$work/module.zip" "$center/api/go/golang-local/$module/@v/$version.zip"

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
mkdir -p "$work/nginx"
sed "s#USER#$(id -un)#; s#GROUP#$(id -gn)#; s#LISTEN#127.0.0.1:$port#; s#http://CENTER#$center#" tests/bench/nginx.conf >"$work/nginx/nginx.conf"
PATH=$PATH:/usr/sbin nginx -p "$work/nginx" -c "$work/nginx/nginx.conf" -e "$work/nginx/error.log" &
nginx=$!
peer=http://127.0.0.1:$port

median() { sort -g | sed -n "$(((rounds + 1) / 2))p"; }
load() { # URL -> requests per second and p99
  wrk -t2 -c64 -d"${seconds}s" --latency "$1" | awk '/99%/ { p99 = $2 } /Requests\/sec/ { rate = $2 } /Non-2xx|Socket errors/ { print > "/dev/stderr" } END { print rate, p99 }'
}
{
  echo "# Benchmarks"
  echo
  echo "Written by \`make bench\` on $(nproc) cores. Warm hits, \`wrk -t2 -c64\`, $rounds rounds of $seconds s each, ours and nginx in turn; access log on for both."
  echo "Only the ratio means anything."
  echo
  echo "| hits | edge, requests/s | nginx proxy_cache | ratio | p99 edge | p99 nginx |"
  echo "|---|---|---|---|---|---|"
} >"$work/report"
for artefact in @v/$version.info @v/$version.mod @v/$version.zip @v/list @latest; do
  for base in "$edge" "$peer"; do
    curl -fsS -o "$work/body.$RANDOM" "$base/$module/$artefact"
    curl -fsS "$base/$module/$artefact" | sha256sum
  done | uniq | wc -l | grep -qx 1 || { echo "bench: $artefact: edge and nginx serve different bodies" >&2; exit 1; }
  : >"$work/ours" >"$work/theirs"
  for _ in $(seq $rounds); do
    load "$edge/$module/$artefact" >>"$work/ours"
    load "$peer/$module/$artefact" >>"$work/theirs"
  done
  ours=$(cut -d' ' -f1 "$work/ours" | median) theirs=$(cut -d' ' -f1 "$work/theirs" | median)
  ratio=$(awk "BEGIN { printf \"%.2f\", $ours / $theirs }")
  printf '| `%s` | %s | %s | %s | %s | %s |\n' "${artefact#@v/}" "$ours" "$theirs" "$ratio" \
    "$(cut -d' ' -f2 "$work/ours" | median)" "$(cut -d' ' -f2 "$work/theirs" | median)" | tee -a "$work/report"
done
cp "$work/report" "$report"
