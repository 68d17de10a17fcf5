#!/usr/bin/env bash
# Builds the stripped binary for each platform named (os/arch[/variant]) and
# prints its size. A Linux binary over 25 MB fails: people run this on routers.
set -euo pipefail
cd "$(dirname "$0")/.."
limit=$((25 * 1000 * 1000))
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
  size=$(stat -c %s "$out" 2>/dev/null || stat -f %z "$out")
  printf '%-24s %6.1f MB\n' "$platform" "$(echo "$size" | awk '{print $1 / 1e6}')"
  if [ "$os" = linux ] && [ "$size" -gt "$limit" ]; then
    echo "$platform: $size bytes, more than the $limit that a router can spare" >&2
    bad=1
  fi
done
exit $bad
