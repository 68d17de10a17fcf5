#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other, for the time given
# ("10m" unless told otherwise). A finding lands in the package's
# testdata/fuzz and belongs into the repository together with its fix.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-10m}
n=0
while IFS=: read -r file target; do
  echo "== $target ($(dirname "$file")) for $time"
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "./$(dirname "$file")"
  n=$((n + 1))
done < <(git ls-files '*_test.go' | xargs grep -HoE '^func Fuzz[A-Za-z0-9_]*' | sed 's/:func /:/' | sort)
echo "$n fuzz targets ran $time each"
[ "$n" -gt 0 ]
