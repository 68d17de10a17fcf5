#!/usr/bin/env bash
# Builds the stripped binary for each platform named (os/arch[/variant]) and
# prints its size. A Linux binary over 25 MiB fails: people run this on routers.
# Code for MIPS without a floating-point unit is larger, so it has 27 MiB. More
# than half of either is the store on disk (Pebble: 13 MB).
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(git describe --tags --always --dirty 2>/dev/null || echo unknown)
bad=0
for platform in "$@"; do
  IFS=/ read -r os arch variant <<<"$platform"
  suffix=; [ "$os" != windows ] || suffix=.exe
  out=bin/nightjar-${platform//\//-}$suffix
  env CGO_ENABLED=0 GOOS="$os" GOARCH="$arch" \
    GOARM="$([ "$arch" != arm ] || echo "$variant")" \
    GOMIPS="$(case $arch in mips*) echo "$variant" ;; esac)" \
    go build -trimpath -ldflags "-s -w -X github.com/nightjar-mqtt/nightjar/internal/cli.version=$version" -o "$out" ./cmd/nightjar
  limit=$((25 << 20))
  case $arch in mips*) limit=$((27 << 20)) ;; esac
  size=$(stat -c %s "$out" 2>/dev/null || stat -f %z "$out")
  printf '%-24s %6.1f MB\n' "$platform" "$(echo "$size" | awk '{print $1 / 1e6}')"
  if [ "$os" = linux ] && [ "$size" -gt "$limit" ]; then
    echo "$platform: $size bytes, more than the $limit that a router can spare" >&2
    bad=1
  fi
done
exit $bad
