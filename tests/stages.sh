#!/usr/bin/env bash
# Runs the checks stage by stage and prints the seconds each took beside its budget (2 cores, nothing cached: the clippy
# stage comes first and compiles RocksDB).
#   stages.sh lint|test|deep|soak
set -euo pipefail
cd "$(dirname "$0")/.."

rows=()
finish() {
  local code=$?
  printf '\n%-22s %8s %8s\n' stage seconds budget
  printf '%s\n' "${rows[@]}"
  printf '%-22s %8d %8s\n' total "$SECONDS" 2400
  exit "$code"
}
trap finish EXIT

stage() { # NAME BUDGET-IN-SECONDS COMMAND...
  local name=$1 budget=$2 started=$SECONDS code=0; shift 2
  printf '\n== %s\n' "$name"
  "$@" || code=$?
  local took=$((SECONDS - started)) note=
  [ "$took" -le "$budget" ] || note=' over'
  [ "$code" = 0 ] || note=' FAILED'
  rows+=("$(printf '%-22s %8d %8d%s' "$name" "$took" "$budget" "$note")")
  return "$code"
}

tools=${XDG_CACHE_HOME:-$HOME/.cache}/modtier/tools
install_deny() {
  PATH=$tools/bin:$PATH command -v cargo-deny >/dev/null && return
  # A checker run once a build: compiled quickly rather than to be quick. Its own target folder keeps our profiles apart.
  CARGO_TARGET_DIR=$(mktemp -d) CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    cargo install --quiet --locked --no-default-features --root "$tools" cargo-deny
}
deny() { # Advisories need a database that may be out of reach; bans, licences and sources are always checked.
  install_deny
  PATH=$tools/bin:$PATH cargo deny --log-level error check bans licenses sources
}
install_servers() { # for the tests of the storage: a real server of S3, and Microsoft's own emulation of Azure's
  [ -x "$tools/bin/versitygw" ] || GOBIN=$tools/bin GOFLAGS= go install github.com/versity/versitygw/cmd/versitygw@v1.8.0
  [ -e "$tools/azurite/node_modules/.bin/azurite-blob" ] ||
    npm install --silent --no-audit --no-fund --prefix "$tools/azurite" azurite@3.35.0
}
rules() {
  promtool check config prometheus/prometheus.yml
  promtool test rules prometheus/rules_test.yml
}
generated_docs() { # the pages made from the binaries are those in the tree
  local name
  for name in edge center syncer; do
    diff -u "docs/configuration/$name.md" <("$CARGO_TARGET_DIR/debug/modtier-$name" --print-config-reference)
    diff -u "docs/configuration/$name.schema.json" <("$CARGO_TARGET_DIR/debug/modtier-$name" --print-config-schema)
  done
}

lint() {
  stage prerequisites 60 deploy/prerequisites.sh build redis test
  stage format 10 cargo fmt --all --check
  stage clippy 1100 cargo clippy --quiet --workspace --all-targets -- -D warnings
}

case ${1:?lint, test, deep or soak} in
  lint) lint ;;
  test)
    lint
    stage build 350 cargo build --quiet --workspace --bins
    stage 'build tests' 420 cargo test --quiet --workspace --no-run
    stage 'servers' 240 install_servers
    stage 'api docs' 30 env RUSTDOCFLAGS='-D warnings' cargo doc --quiet --workspace --no-deps --document-private-items
    stage 'generated docs' 5 generated_docs
    stage 'prometheus rules' 5 rules
    stage 'dependencies' 90 deny
    stage 'unit tests' 90 cargo test --workspace --lib --bins
    stage 'fuzz, 20 s each' 60 env MODTIER_FUZZ_SECONDS=20 cargo test --workspace --bin modtier-edge --test hostile -- fuzz --nocapture --test-threads 8
    stage 'end to end' 480 cargo test --workspace --test '*'
    ;;
  deep)
    stage prerequisites 60 deploy/prerequisites.sh build redis test
    stage build 1500 cargo build --quiet --workspace --bins
    stage 'servers' 240 install_servers
    stage 'deep' 7200 tests/deep.sh docs/deep.md
    ;;
  soak)
    seconds=${SOAK_SECONDS:-300}
    stage prerequisites 60 deploy/prerequisites.sh build redis test
    stage build 1500 cargo build --quiet --workspace --bins
    stage soak $((seconds + 300)) env MODTIER_SOAK_SECONDS="$seconds" cargo test --workspace --test faults soak -- --nocapture
    ;;
  *) echo "stages: unknown set '$1' (lint, test, deep, soak)" >&2; exit 2 ;;
esac
