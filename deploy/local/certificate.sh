#!/usr/bin/env bash
# certificate.sh FOLDER NAME...: a certificate for these host names and addresses, signed by an authority of this folder's own.
# Writes authority.pem (to be trusted), server.pem and server.key (for the edge). What is there and still good is kept, so that an
# authority has to be trusted once only; the authority's key never leaves the folder.
set -euo pipefail
umask 077
folder=$1; shift
mkdir -p "$folder"
cd "$folder"

fail() { printf 'certificate: %s\n' "$*" >&2; exit 1; }
lasts() { [ -s "$1" ] && openssl x509 -in "$1" -noout -checkend $((30 * 24 * 3600)) >/dev/null; }
ssl() { openssl "$@" 2>openssl.log || { cat openssl.log >&2; fail "openssl $1 failed"; }; }
new_key() { ssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.new"; mv "$1.new" "$1"; }

names=
for name in "$@"; do
  case $name in
    *:* | *[0-9].*[0-9].*[0-9].*[0-9]) names+="${names:+,}IP:$name" ;;
    *) names+="${names:+,}DNS:$name" ;;
  esac
done
[ -n "$names" ] || fail "name at least one host"

if ! lasts authority.pem || [ ! -s authority.key ]; then
  new_key authority.key
  ssl req -new -x509 -key authority.key -days 3650 -subj "/CN=Modtier local authority of $(hostname)" \
    -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign -out authority.pem.new
  mv authority.pem.new authority.pem
  rm -f server.pem
fi
if ! lasts server.pem || [ "$(cat names 2>/dev/null)" != "$names" ]; then
  new_key server.key
  printf '%s\n' "subjectAltName=$names" basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature extendedKeyUsage=serverAuth \
    >extensions
  ssl req -new -key server.key -subj "/CN=Modtier edge" -out request
  ssl x509 -req -in request -CA authority.pem -CAkey authority.key -set_serial "0x$(openssl rand -hex 16)" -days 397 -sha256 \
    -extfile extensions -out server.pem.new
  mv server.pem.new server.pem
  printf '%s\n' "$names" >names
fi
rm -f request extensions openssl.log
chmod 644 authority.pem server.pem
