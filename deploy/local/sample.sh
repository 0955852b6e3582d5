#!/usr/bin/env bash
# sample.sh GOPROXY [AUTHORITY]: shows a first and a second request, then downloads a small real project with the go command.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
goproxy=$1
authority=${2:-}
trust=(); curl_trust=()
[ -z "$authority" ] || { trust=(SSL_CERT_FILE="$authority"); curl_trust=(--cacert "$authority"); }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

url=$goproxy/rsc.io/quote/@v/v1.5.2.zip
for nth in first second; do
  seconds=$(curl -fsS "${curl_trust[@]}" --max-time 60 -D "$work/headers" -o "$work/zip" -w '%{time_total}' "$url")
  cache=$(tr -d '\r' <"$work/headers" | awk -F': ' 'tolower($1) == "x-cache" { print $2 }')
  printf 'modtier: %-6s request of rsc.io/quote v1.5.2: X-Cache %s, %s s\n' "$nth" "$cache" "$seconds"
done

command -v go >/dev/null || { echo "modtier: go is not installed; the download with it is left out"; exit 0; }
cp -r "$here/sample" "$work/project"
cd "$work/project"
started=$(date +%s%N)
env "${trust[@]}" GOENV=off GOFLAGS=-modcacherw GOPROXY="$goproxy" GOPATH="$work/gopath" GOMODCACHE="$work/modcache" go mod download
echo "modtier: go mod download of a project with $(find "$work/modcache/cache/download" -name '*.zip' | wc -l) modules: $((($(date +%s%N) - started) / 1000000)) ms"
