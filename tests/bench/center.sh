#!/usr/bin/env bash
# center.sh BIN-FOLDER: the center alone: cold metadata, publishing, merged lists, and hits beside nginx with the same files. Prints a
# table. Without verification (there is no checksum database for the bench's modules). No network.
#   MODULES of the cold round (500)   PUBLISHED (1000)   VERSIONS of the list (10000)   CLIENTS (16)   DELAY of the origin (50ms)
#   BENCH_SECONDS of a round of hits (5), BENCH_ROUNDS (3)
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/bench/report.sh
bin=$1 modules=${MODULES:-500} published=${PUBLISHED:-1000} versions=${VERSIONS:-10000} clients=${CLIENTS:-16} delay=${DELAY:-50ms}
seconds=${BENCH_SECONDS:-5} rounds=${BENCH_ROUNDS:-3}
work=$(mktemp -d)
started=()
trap stop EXIT
per() { awk "BEGIN { printf \"%.2f\", $1 / $2 }"; }

# --- the origin, the center -------------------------------------------------------------------------------------------------------
(cd tests/bench/center && go build -o "$work/tool" .)
"$work/tool" origin "$work/origin" "$delay" "$versions" 2>"$work/origin.log" &
started+=($!)
await "$work/origin" $! "$work/origin.log"
origin=$(cat "$work/origin")
token=$("$bin/modtier-center" token new --file "$work/tokens.yaml" --name bench --grant read,write)
repositories=$(jq -nc --arg origin "$origin" '
  {"golang-local": {}, "golang-remote": {type: "remote", upstream: "\($origin)/all"}}
  + ([range(5) | {"member\(.)": {type: "remote", upstream: "\($origin)/\(.)"}}] | add)
  + {"golang-virtual": {type: "virtual", members: ["golang-local", "golang-remote"]},
     "five": {type: "virtual", members: [range(5) | "member\(.)"]}}')
MODTIER_CENTER_LISTEN=127.0.0.1:0 MODTIER_CENTER_DATA_DIR=$work/data MODTIER_CENTER_SUMDB_NAMES=off MODTIER_CENTER_LOG_LEVEL=warn \
  MODTIER_CENTER_ACCESS_TOKENS_FILE=$work/tokens.yaml MODTIER_CENTER_REPOSITORIES=$repositories \
  "$bin/modtier-center" --announce "$work/center.json" >"$work/center.log" 2>&1 &
started+=($!)
await "$work/center.json" $! "$work/center.log"
center=http://$(jq -r .listen "$work/center.json")/api/go

# --- cold metadata ----------------------------------------------------------------------------------------------------------------
gomods() { seq "$modules" | sed "s#.*#$1/bench.example/cold$2&/@v/v1.0.0.mod#"; }
own=$(gomods "$origin/all" a | "$work/tool" get "$clients")
cold=$(gomods "$center/golang-remote" b | "$work/tool" get "$clients")
zips=$(curl -fsS "$origin/zips")

# --- publishing -------------------------------------------------------------------------------------------------------------------
read -r publishing p50 p99 <<<"$("$work/tool" publish "$clients" "$published" "$center/golang-local" "$token")"

# --- lists: of modules that nobody has asked for, and of one that is held -----------------------------------------------------------
lists() { seq 20 | sed "s#.*#$center/$1/bench.example/many$2&/@v/list#"; }
held() { for _ in $(seq 100); do echo "$center/$1/bench.example/many$2""1/@v/list"; done; }
one_cold=$(lists member0 a | "$work/tool" get 1)
five_cold=$(lists five b | "$work/tool" get 1)
one_held=$(held member0 a | "$work/tool" get 1)
five_held=$(held five b | "$work/tool" get 1)
wanted=$(curl -fsS "$origin/all/bench.example/many/@v/list" | sort -V | sha256sum)
[ "$(curl -fsS "$center/five/bench.example/manyb1/@v/list" | sha256sum)" = "$wanted" ] || { echo "bench: the merged list is wrong" >&2; exit 1; }

# --- hits, beside nginx with the same files ---------------------------------------------------------------------------------------
module=bench.example/hits version=v1.0.0
root="$work/zip/$module@$version"
mkdir -p "$root" "$work/nginx/root/$module/@v"
{ printf 'module %s\n' "$module"; for i in $(seq 400); do printf '// line %03d of a go.mod that is about 20 KB long\n' "$i"; done; } >"$root/go.mod"
head -c 1000000 /dev/urandom >"$root/data.bin"
(cd "$work/zip" && zip -qr ../module.zip . -i '*.mod' '*.bin')
curl -fsS -o /dev/null -u ":$token" -T "$work/module.zip" "$center/golang-local/$module/@v/$version.zip"
artefacts=("$version.mod" "$version.zip")
for artefact in "${artefacts[@]}"; do curl -fsS -o "$work/nginx/root/$module/@v/$artefact" "$center/golang-virtual/$module/@v/$artefact"; done
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$work/nginx/nginx.conf" <<N
daemon off;
user $(id -un) $(id -gn);
worker_processes 2;
pid nginx.pid;
error_log error.log warn;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  open_file_cache max=10000 inactive=60s;
  server { listen 127.0.0.1:$port reuseport; root root; }
}
N
chmod 755 "$work" "$work/nginx" "$work/nginx/root"
PATH=$PATH:/usr/sbin nginx -p "$work/nginx" -c "$work/nginx/nginx.conf" -e "$work/nginx/error.log" &
started+=($!)
for _ in $(seq 100); do curl -fsS -o /dev/null "http://127.0.0.1:$port/$module/@v/$version.mod" 2>/dev/null && break; sleep 0.1; done
rate() { # URL
  wrk -t2 -c64 -d"${seconds}s" "$1" >"$work/wrk"
  if grep -E 'Non-2xx|Socket errors' "$work/wrk" >&2; then echo "bench: $1: not all answers were good" >&2; exit 1; fi
  awk '/Requests\/sec/ { print $2 }' "$work/wrk"
}
for artefact in "${artefacts[@]}"; do
  for _ in $(seq "$rounds"); do
    rate "$center/golang-virtual/$module/@v/$artefact" >>"$work/center.$artefact"
    rate "http://127.0.0.1:$port/$module/@v/$artefact" >>"$work/nginx.$artefact"
  done
done
row() { # TITLE ARTEFACT AIM
  local ours theirs
  ours=$(median <"$work/center.$2") theirs=$(median <"$work/nginx.$2")
  echo "| hits, $1 | $(per "$ours" "$theirs") × nginx ($ours and $theirs requests/s) | $3 |"
}

cat <<T
### Center

Origin with $delay before each answer, RocksDB and a directory, no checksum database; nginx serves the same bytes as plain files. \`wrk -t2 -c64\`, medians of
$rounds rounds of $seconds s, servers in turn. Commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown).

| what | measured | aim |
|---|---|---|
| cold \`.mod\` of $modules modules, $clients clients | $(per "$cold" "$own") × the origin's own time ($cold and $own s) | ≤ 1.3 |
| zips that the origin was asked for meanwhile | $zips | 0 |
| publish of $published modules of 100 KB, $clients clients, each on disk before its 201 | $(awk "BEGIN { printf \"%.0f\", $published / $publishing }") a second; p50 $p50 ms, p99 $p99 ms | – |
| list of $versions versions over 5 members, asked for the first time | $(per "$five_cold" "$one_cold") × one member's ($(awk "BEGIN { printf \"%.1f and %.1f\", 50 * $five_cold, 50 * $one_cold }") ms) | ≤ 2 |
| the same, held | $(per "$five_held" "$one_held") × one member's ($(awk "BEGIN { printf \"%.1f and %.1f\", 10 * $five_held, 10 * $one_held }") ms) | ≤ 2 |
$(row "\`.mod\` of 20 KB" "$version.mod" "≥ 0.5")
$(row "zip of 1 MB" "$version.zip" "≥ 0.8")
T
