#!/usr/bin/env bash
# Installs what is missing. Assumed to be there: the Rust toolchain (rustup) and, for tests and the sample download, Go.
#   prerequisites.sh build|redis|tls|test|bench ...
set -euo pipefail

# package | the command or file that shows it is there | why
packages() {
  case $1 in
    build) cat <<'P'
build-essential|cc|links the binaries; compiles RocksDB
clang|clang|parses RocksDB's headers for its bindings
libclang-dev|/usr/include/clang-c|the library behind those bindings (or below /usr/lib/llvm-*)
cmake|cmake|builds the compression libraries
pkg-config|pkg-config|finds what is installed
ccache|ccache|RocksDB takes 12 minutes to compile; once is enough
curl|curl|waits for readiness and shows the first download
jq|jq|writes and reads run.json
P
    ;;
    redis) cat <<'P'
redis-server|redis-server|Redis Streams, where REDIS=1 asks for them and in tests
P
    ;;
    tls) cat <<'P'
openssl|openssl|makes the authority and the certificate that TLS=1 asks for
P
    ;;
    test) cat <<'P'
openssl|openssl|makes the certificates of the tests
git|git|the go command reads repositories with it; the Go team's scripts need it
mercurial|hg|some of the Go team's scripts read a Mercurial repository; so does a private repository
subversion|svn|a private repository reads one
apache2-bin|apache2|serves that over https with a password
libapache2-mod-svn|/usr/lib/apache2/modules/mod_dav_svn.so|the part of it that does
fossil|fossil|a private repository reads one
openssh-server|sshd|private repositories over ssh
prometheus|promtool|checks the recording and alert rules
postgresql|/usr/lib/postgresql|several centers on one database; tests start clusters of their own
nodejs|node|runs the emulation of Azure's blobs
npm|npm|installs it
systemd|systemd-analyze|checks the units of systemd
xfsprogs|mkfs.xfs|a disk whose state at any instant can be copied, for losses of power
P
    ;;
    bench) cat <<'P'
zip|zip|the module that is served
python3|python3|finds a free port for nginx
nginx|nginx|the peer
openssl|openssl|the certificate of both
wrk|wrk|the load
P
    ;;
    *) echo "prerequisites: unknown group '$1' (build, redis, tls, test, bench)" >&2; exit 2 ;;
  esac
}

is_there() { # COMMAND-OR-PATH
  case $1 in
    /usr/lib/postgresql) compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ;;
    /usr/include/clang-c) compgen -G '/usr/lib/llvm-*/include/clang-c' >/dev/null || [ -e "$1" ] ;;
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] ;;
  esac
}

missing=()
for group in "$@"; do
  list=$(packages "$group")
  while IFS='|' read -r package shown why; do
    is_there "$shown" && continue
    echo "prerequisites: $package: $why"
    missing+=("$package")
  done <<<"$list"
done

if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || { echo "prerequisites: no apt-get here; install these by hand: ${missing[*]}" >&2; exit 1; }
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  export DEBIAN_FRONTEND=noninteractive
  $sudo apt-get update -qq
  # No service is started: tests and `make run` start their own, on ports and sockets of their own.
  $sudo env RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

command -v cargo >/dev/null || { echo "prerequisites: cargo is missing: install the Rust toolchain with rustup first" >&2; exit 1; }
case " $* " in
  *" test "*) command -v go >/dev/null || { echo "prerequisites: go is missing: the tests use the real go command" >&2; exit 1; } ;;
esac
