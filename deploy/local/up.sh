#!/usr/bin/env bash
# Starts center, edge and syncer on this machine and stays in the foreground; Ctrl-C stops all of them.
#   up.sh [--sample]     --sample: show a first download through the proxy
# Variables (addresses may have port 0): DATA EDGE EDGE_ADMIN CENTER UPSTREAM SUMDB VERIFY REDIS TLS, and BIN, the folder of the binaries.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
data=${DATA:-.modtier}
edge=${EDGE:-127.0.0.1:3000}
edge_admin=${EDGE_ADMIN:-127.0.0.1:9091}
center=${CENTER:-127.0.0.1:8081}
redis=${REDIS:-}
tls=${TLS:-}; [ "$tls" != 0 ] || tls=
bin=${BIN:?the folder of the binaries}

say() { printf 'modtier: %s\n' "$*"; }
fail() { printf 'modtier: %s\n' "$*" >&2; exit 1; }

mkdir -p "$data/log" 2>/dev/null || fail "data directory $data: cannot be created; set DATA to a folder that can be written"
data=$(cd "$data" && pwd)
[ -w "$data" ] || fail "data directory $data: cannot be written; set DATA to a folder that can"

# --- one start per data directory ---------------------------------------------------------------------------------------------
exec 9>"$data/lock"
flock -n 9 || fail "data directory $data: in use by another 'make run' or 'make up'; stop it, or set DATA to another folder"
rm -f "$data/run.json"

# --- stopping: by the ids that were started here, downstream first ------------------------------------------------------------
names=() pids=()
stop_all() {
  trap - EXIT; trap '' INT TERM HUP
  rm -f "$data/run.json"
  local i
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do kill -TERM "${pids[i]}" 2>/dev/null || true; wait "${pids[i]}" 2>/dev/null || true; done
}
trap stop_all EXIT
trap 'say "stopping"; exit 0' INT TERM HUP

start() { # NAME COMMAND...
  local name=$1; shift
  rm -f "$data/$name.announce"
  "$@" >"$data/log/$name.log" 2>&1 9>&- </dev/null &
  names+=("$name") pids+=($!)
}
died() { # NAME
  say "$1 has stopped:" >&2
  tail -n 5 "$data/log/$1.log" | sed 's/^/  /' >&2
  exit 1
}
await() { # NAME PID FILE-OR-URL: until it is there, or the process is gone, or 60 s have passed
  local deadline=$((SECONDS + 60))
  until case $3 in http*) curl -fsS -o /dev/null --max-time 2 "$3" 2>/dev/null ;; *) [ -e "$3" ] ;; esac; do
    kill -0 "$2" 2>/dev/null || died "$1"
    [ $SECONDS -lt $deadline ] || fail "$1: not ready within 60 s; see $data/log/$1.log"
    sleep 0.05
  done
}
announced() { jq -r ".$2" "$data/$1.announce"; } # NAME FIELD

# --- the upstream: what is configured, else the go command's own setting, but never ourselves ---------------------------------
first_upstream() { # GOPROXY-LIST: the first http(s) entry that is not this edge or center
  local entry rest
  for entry in ${1//[,|]/ }; do
    case $entry in http://* | https://*) ;; *) continue ;; esac
    rest=${entry#*://}; rest=${rest%%/*}
    rest=${rest/#localhost:/127.0.0.1:}; rest=${rest/#\[::1\]:/127.0.0.1:}
    local own is_own=
    for own in "$edge" "$center"; do
      own=${own/#localhost:/127.0.0.1:}; own=${own/#0.0.0.0:/127.0.0.1:}; own=${own/#\[::\]:/127.0.0.1:}
      [ "$rest" = "$own" ] && is_own=1
    done
    [ -n "$is_own" ] || { printf '%s\n' "$entry"; return; }
  done
}
upstream=${UPSTREAM:-${MODTIER_UPSTREAM:-}}
if [ -z "$upstream" ] && command -v go >/dev/null; then
  upstream=$(first_upstream "$(go env GOPROXY)")
  # The developer's setting may name nobody but this edge; the toolchain's default is the next best.
  [ -n "$upstream" ] || upstream=$(first_upstream "$(env -u GOPROXY GOENV=off go env GOPROXY)")
fi
[ -n "$upstream" ] || say "no upstream: only what is published here can be served; set UPSTREAM to the URL of a module proxy"

# --- redis, when asked for ----------------------------------------------------------------------------------------------------
redis_url=
case $redis in
  '' | 0) ;;
  redis://* | rediss://* | redis+unix://* | unix://*) redis_url=$redis ;;
  *)
    # A socket needs no port; its path may have 107 bytes at most.
    socket=$data/redis.sock
    [ ${#socket} -lt 100 ] || socket=$(mktemp -d)/redis.sock
    mkdir -p "$data/redis"
    start redis redis-server --port 0 --unixsocket "$socket" --dir "$data/redis" --appendonly yes --save ''
    await redis "${pids[-1]}" "$socket"
    redis_url=redis+unix://$socket
    ;;
esac

# --- the token for publishing -------------------------------------------------------------------------------------------------
token_file=$data/token
if [ ! -s "$token_file" ] || [ ! -s "$data/tokens.yaml" ]; then
  (umask 077 && "$bin/modtier-center" token new --file "$data/tokens.yaml" --name local --grant read,write,delete,admin >"$token_file.new") ||
    fail "the publishing token could not be created below $data"
  mv "$token_file.new" "$token_file"
fi

# --- a certificate, when asked for ----------------------------------------------------------------------------------------------
if [ -n "$tls" ]; then
  host=${edge%:*}; host=${host#[}; host=${host%]}
  hosts=(localhost 127.0.0.1 ::1 "$(hostname)")
  case $host in '' | 0.0.0.0 | :: | localhost | 127.0.0.1 | ::1 | "$(hostname)") ;; *) hosts+=("$host") ;; esac
  "$here/certificate.sh" "$data/tls" "${hosts[@]}" || fail "the certificate could not be made below $data/tls"
fi

# --- center, edge, syncer -----------------------------------------------------------------------------------------------------
environment=(MODTIER_CENTER_LISTEN="$center" MODTIER_CENTER_DATA_DIR="$data/center" MODTIER_CENTER_ACCESS_TOKENS_FILE="$data/tokens.yaml")
[ -z "$upstream" ] || environment+=(MODTIER_UPSTREAM="$upstream")
[ -z "${SUMDB:-}" ] || environment+=(MODTIER_CENTER_SUMDB_NAMES="$SUMDB")
[ -z "${VERIFY:-}" ] || environment+=(MODTIER_CENTER_SUMDB_VERIFY="$VERIFY")
start center env "${environment[@]}" "$bin/modtier-center" --announce "$data/center.announce"
center_pid=${pids[-1]}
await center "$center_pid" "$data/center.announce"
center_url=http://$(announced center listen)
await center "$center_pid" "$center_url/readyz"

environment=(MODTIER_EDGE_ADMIN="$edge_admin" MODTIER_EDGE_DATA_DIR="$data/edge" MODTIER_EDGE_CENTERS="$center_url")
if [ -n "$tls" ]; then
  environment+=(MODTIER_EDGE_LISTEN= MODTIER_EDGE_TLS_LISTEN="$edge" MODTIER_EDGE_TLS_CERTIFICATE="$data/tls/server.pem" MODTIER_EDGE_TLS_KEY="$data/tls/server.key")
else
  environment+=(MODTIER_EDGE_LISTEN="$edge")
fi
[ -z "$redis_url" ] || environment+=(MODTIER_EDGE_REDIS_URL="$redis_url")
start edge env "${environment[@]}" "$bin/modtier-edge" --announce "$data/edge.announce"
edge_pid=${pids[-1]}
await edge "$edge_pid" "$data/edge.announce"
edge_url=http://$(announced edge listen)
# The certificate knows names, and no address means all of them.
[ -z "$tls" ] || edge_url=https://$(announced edge tls | sed -e 's/^0\.0\.0\.0:/localhost:/' -e 's/^\[::\]:/localhost:/')
edge_admin_url=http://$(announced edge admin)
await edge "$edge_pid" "$edge_admin_url/readyz"

environment=(MODTIER_SYNCER_ADMIN="${SYNCER_ADMIN:-127.0.0.1:0}" MODTIER_SYNCER_CENTER="$center_url" MODTIER_SYNCER_EDGES="$edge_admin_url"
  MODTIER_SYNCER_PREWARM_STATE_DIR="$data/syncer")
[ -z "$redis_url" ] || environment+=(MODTIER_SYNCER_REDIS_URL="$redis_url")
start syncer env "${environment[@]}" "$bin/modtier-syncer" run --announce "$data/syncer.announce"
syncer_pid=${pids[-1]}
await syncer "$syncer_pid" "$data/syncer.announce"
await syncer "$syncer_pid" "http://$(announced syncer admin)/readyz"

jq -n --arg edge "$edge_url" --arg edge_admin "$edge_admin_url" --arg center "$center_url" --arg token_file "$token_file" \
  --arg syncer_admin "http://$(announced syncer admin)" \
  --argjson e "$edge_pid" --argjson c "$center_pid" --argjson s "$syncer_pid" \
  '{edge: $edge, edge_admin: $edge_admin, center: $center, syncer_admin: $syncer_admin, goproxy: $edge, token_file: $token_file, pids: {edge: $e, center: $c, syncer: $s}}' \
  >"$data/run.json.new"
mv "$data/run.json.new" "$data/run.json"

say "ready"
say "  use it:   go env -w GOPROXY=$edge_url"
if [ -n "$tls" ]; then
  authority=$data/tls/authority.pem
  say "  trust it: sudo cp $authority /usr/local/share/ca-certificates/modtier.crt && sudo update-ca-certificates   (this machine, go and git with it)"
  say "            export SSL_CERT_FILE=$authority   (the go command alone)"
  say "            git config --global http.$edge_url/.sslCAInfo $authority   (git alone)"
fi
say "  publish:  curl -u :\$(cat $token_file) -T module.zip $center_url/api/go/golang-local/<module>/@v/<version>.zip"
say "  metrics:  $edge_admin_url/metrics"
say "  edges:    MODTIER_SYNCER_CENTER=$center_url MODTIER_SYNCER_EDGES=$edge_admin_url $bin/modtier-syncer watch"
say "  data:     $data (kept), logs in $data/log"
if [ "${1:-}" = --sample ]; then
  # The proxy stays up when the sample fails: an upstream that cannot be reached is no reason to stop.
  "$here/sample.sh" "$edge_url" "${authority:-}" || say "the sample download failed; the proxy goes on (is the upstream reachable?)"
fi
say "how far the edge is, and what it is asked for:"
env "${environment[@]}" "$bin/modtier-syncer" status | sed 's/^/  /' || true
env "${environment[@]}" "$bin/modtier-syncer" hot -n 5 | sed 's/^/  /' || true
say "Ctrl-C stops it"

# The first child that ends ends all.
ended=
wait -n -p ended "${pids[@]}" || true
for i in "${!pids[@]}"; do [ "${pids[i]}" != "$ended" ] || died "${names[i]}"; done
