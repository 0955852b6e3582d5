# Sourced by the benches: the report, of which each owns one section, and the processes that some of them start.

# put_section REPORT NAME: puts what comes on stdin between the two comments of that name, or at the end.
put_section() {
  local report=$1 name=$2 text
  text=$(cat)
  touch "$report"
  if grep -qx "<!-- begin $name -->" "$report"; then
    TEXT=$text awk -v name="$name" '
      $0 == "<!-- begin " name " -->" { print; print ENVIRON["TEXT"]; skip = 1; next }
      $0 == "<!-- end " name " -->" { skip = 0 }
      !skip' "$report" >"$report.new"
    mv "$report.new" "$report"
  else
    printf '\n<!-- begin %s -->\n%s\n<!-- end %s -->\n' "$name" "$text" "$name" >>"$report"
  fi
}

# machine: what a figure was measured on.
machine() {
  printf '%s, %s, Linux %s, %s cores, %s GiB of memory' "$(date -u +%Y-%m-%d)" \
    "$(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)" "$(uname -r)" "$(nproc)" \
    "$(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)"
}

# A folder and processes that end with the bench: it makes `work`, appends to `started`, and sets `trap stop EXIT`.
stop() {
  local pid
  for pid in "${started[@]}"; do { kill "$pid" && wait "$pid"; } 2>/dev/null || true; done
  rm -rf "$work"
}
await() { # FILE PID LOG: until the file has something, or the process is gone, or 60 s have passed
  local deadline=$((SECONDS + 60))
  until [ -s "$1" ]; do
    kill -0 "$2" 2>/dev/null && [ $SECONDS -lt $deadline ] || { cat "$3" >&2; exit 1; }
    sleep 0.05
  done
}

# median: of the figures on stdin, one for each of `rounds`.
median() { sort -g | sed -n "$(((rounds + 1) / 2))p"; }
