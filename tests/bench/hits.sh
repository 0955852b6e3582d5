#!/usr/bin/env bash
# hits.sh BIN-FOLDER REPORT: warm hits of the edge, of nginx's cache before the same center and of a plain Go file server, in turn.
# Absolute figures depend on the machine and mean nothing by themselves. Modules are published to a center of the bench's own: no network.
# BENCH_SECONDS (5) is the length of a round, BENCH_ROUNDS (3) their number.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/bench/report.sh
bin=$1 report=$2 seconds=${BENCH_SECONDS:-5} rounds=${BENCH_ROUNDS:-3}
work=$(mktemp -d)
started=()
trap stop EXIT
free_ports() { # COUNT
  python3 -c 'import socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in held))' "$1"
}
read -r edge_tls_port peer_port peer_tls_port <<<"$(free_ports 3)"

# --- the three servers ----------------------------------------------------------------------------------------------------------
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 \
  -keyout "$work/key.pem" -out "$work/certificate.pem" 2>/dev/null
export MODTIER_EDGE_TLS_LISTEN=127.0.0.1:$edge_tls_port MODTIER_EDGE_TLS_CERTIFICATE=$work/certificate.pem MODTIER_EDGE_TLS_KEY=$work/key.pem
BIN=$bin DATA=$work/data EDGE=127.0.0.1:0 EDGE_ADMIN=127.0.0.1:0 CENTER=127.0.0.1:0 UPSTREAM=http://127.0.0.1:9 SUMDB=off VERIFY=off REDIS= \
  deploy/local/up.sh >"$work/up.log" 2>&1 &
started+=($!)
await "$work/data/run.json" $! "$work/up.log"
edge=$(jq -r .edge "$work/data/run.json") center=$(jq -r .center "$work/data/run.json")
edge_pid=$(jq -r .pids.edge "$work/data/run.json")

# A module whose zip has 1 MB that does not compress, and whose go.mod has 20 KB.
module=bench.example/hits version=v1.0.0
root="$work/zip/$module@$version"
mkdir -p "$root"
{ printf 'module %s\n' "$module"; for i in $(seq 400); do printf '// line %03d of a go.mod that is about 20 KB long\n' "$i"; done; } >"$root/go.mod"
head -c 1000000 /dev/urandom >"$root/data.bin"
(cd "$work/zip" && zip -qr ../module.zip . -i '*.mod' '*.bin')
# As large as the .info of a version that a git tag made: about 200 bytes. It comes before the zip, so it is the one served.
printf '{"Version":"%s","Time":"2026-01-02T03:04:05Z","Origin":{"VCS":"git","URL":"https://git.bench.example/hits","Hash":"%040d","Ref":"refs/tags/%s"}}' \
  "$version" 7 "$version" >"$work/module.info"
curl -fsS -o /dev/null -u ":$(cat "$work/data/token")" -T "$work/module.info" "$center/api/go/golang-local/$module/@v/$version.info"
curl -fsS -o /dev/null -u ":$(cat "$work/data/token")" -T "$work/module.zip" "$center/api/go/golang-local/$module/@v/$version.zip"
artefacts=("@v/$version.info" "@v/$version.mod" "@v/$version.zip" "@v/list" "@latest")

mkdir -p "$work/nginx"
sed "s#USER#$(id -un)#; s#GROUP#$(id -gn)#; s#LISTEN#127.0.0.1:$peer_port#; s#TLS ssl#127.0.0.1:$peer_tls_port ssl#; s#http://CENTER#$center#
  s#CERTIFICATE#$work/certificate.pem#; s#KEY;#$work/key.pem;#" tests/bench/nginx.conf >"$work/nginx/nginx.conf"
PATH=$PATH:/usr/sbin nginx -p "$work/nginx" -c "$work/nginx/nginx.conf" -e "$work/nginx/error.log" &
started+=($!)
nginx_pid=$!

mkdir -p "$work/files/$module/@v"
for artefact in "${artefacts[@]}"; do curl -fsS -o "$work/files/$module/$artefact" "$center/api/go/golang-virtual/$module/$artefact"; done
(cd tests/bench/fileserver && go build -o "$work/fileserver" .)
"$work/fileserver" "$work/files" "$work/fileserver.address" &
started+=($!)
go_pid=$!
await "$work/fileserver.address" $go_pid /dev/null

# --- measuring ------------------------------------------------------------------------------------------------------------------
cpu_us() { # PID: what it and its children have used so far
  local pid total=0 ticks
  for pid in "$1" $(pgrep -P "$1" || true); do
    ticks=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | awk '{ print $12 + $13 }') || continue
    total=$((total + ${ticks:-0}))
  done
  echo $((total * 1000000 / $(getconf CLK_TCK)))
}
load() { # PID URL -> requests per second, p99 in ms, microseconds of the server's CPU per request
  local before after
  before=$(cpu_us "$1")
  wrk -t2 -c64 -d"${seconds}s" --latency "$2" >"$work/wrk"
  after=$(cpu_us "$1")
  if grep -E 'Non-2xx|Socket errors' "$work/wrk" >&2; then echo "bench: $2: not all answers were good" >&2; exit 1; fi
  awk -v cpu=$((after - before)) '
    /99%/ { p99 = $2; unit = p99; sub(/[0-9.]+/, "", unit); p99 += 0; if (unit == "us") p99 /= 1000; if (unit == "s") p99 *= 1000 }
    /requests in/ { requests = $1 }
    /Requests\/sec/ { rate = $2 }
    END { printf "%s %.2f %.1f\n", rate, p99, cpu / requests }' "$work/wrk"
}
same_bodies() { # ARTEFACT URL...: a sample of each server's answers, and what the center published
  local artefact=$1 url i wanted; shift
  wanted=$(sha256sum <"$work/files/$module/$artefact")
  for url in "$@"; do
    for i in $(seq 5); do
      [ "$(curl -fsSk "$url/$module/$artefact" | sha256sum)" = "$wanted" ] || { echo "bench: $url: wrong body of $artefact" >&2; exit 1; }
    done
  done
}
column() { cut -d' ' -f"$2" "$work/$1.rounds" | median; }
compare() { # PREFIX-OF-FIRST-CELL SERVER=PID=URL...: one row an artefact; the first server is ours, the second the one to match
  local title=$1 artefact server name pid url row; shift
  local servers=("$@") urls=("${@##*=}")
  for artefact in "${artefacts[@]}"; do
    same_bodies "$artefact" "${urls[@]}"
    for server in "${servers[@]}"; do : >"$work/${server%%=*}.rounds"; done
    for _ in $(seq "$rounds"); do
      for server in "${servers[@]}"; do
        IFS='=' read -r name pid url <<<"$server"
        load "$pid" "$url/$module/$artefact" >>"$work/$name.rounds"
      done
    done
    same_bodies "$artefact" "${urls[@]}"
    row="| $title\`${artefact#@v/}\` | $(awk "BEGIN { printf \"%.2f\", $(column edge 1) / $(column nginx 1) }")"
    for server in "${servers[@]}"; do
      name=${server%%=*}
      row+=" | $(column "$name" 1) | $(column "$name" 2) | $(column "$name" 3)"
    done
    [ ${#servers[@]} -eq 3 ] || row+=" | | |"
    echo "$row |"
  done
}

# All are warm before the first round.
{
  compare "" "edge=$edge_pid=$edge" "nginx=$nginx_pid=http://127.0.0.1:$peer_port" "go=$go_pid=$(cat "$work/fileserver.address")"
  compare "TLS " "edge=$edge_pid=https://127.0.0.1:$edge_tls_port" "nginx=$nginx_pid=https://127.0.0.1:$peer_tls_port"
} | tee "$work/rows" >&2

{
  echo "## Warm hits"
  echo
  echo "\`wrk -t2 -c64\`, keep-alive, $rounds rounds of $seconds s each, servers in turn on the cores that wrk uses too; medians. The edge in its default"
  echo "configuration, nginx $(PATH=$PATH:/usr/sbin nginx -v 2>&1 | sed 's/.*nginx.//') with [tests/bench/nginx.conf](../tests/bench/nginx.conf), access log on for both;"
  echo "$(go env GOVERSION)'s \`http.FileServer\` without a log. A sample of the bodies is hashed before and after each row. Only ratios mean anything."
  echo
  echo "$(machine); Modtier $("$bin/modtier-edge" --version | awk '{ print $2 }') at $(git describe --always --dirty 2>/dev/null || echo "an unknown commit")."
  echo "Repeat: \`make bench\` (\`BENCH_SECONDS=1\` for a quick look)."
  echo
  echo "| hits | edge ÷ nginx | edge, requests/s | p99 ms | CPU µs | nginx proxy_cache | p99 ms | CPU µs | Go file server | p99 ms | CPU µs |"
  echo "|---|---|---|---|---|---|---|---|---|---|---|"
  cat "$work/rows"
} | put_section "$report" hits
