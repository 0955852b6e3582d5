# Sourced by the benches. Each owns one section of the report and leaves the others as they are.

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
