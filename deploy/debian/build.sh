#!/usr/bin/env bash
# Builds the Debian packages for the architectures named, such as amd64, arm64, armhf or riscv64, into bin/.
#   VERSION            the program's version; without it, git's word for it
#   SOURCE_DATE_EPOCH  the time that is written into them; without it, that of the commit
# The same source, version, time and Go give the same packages, wherever they are built.
set -euo pipefail
cd "$(dirname "$0")/../.."
export LC_ALL=C TZ=UTC

VERSION=${VERSION:-$(git describe --tags --always --dirty)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
date=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%d)
# v1.2.0-rc.1-5-gabc is Debian's 1.2.0~rc.1+5+gabc; a commit before the first tag counts as less than any version.
case $VERSION in
  v[0-9]*) DEBVERSION=$(sed -E 's/^v//; s/-([0-9]+)-g([0-9a-f]+)/+\1+g\2/; s/-dirty$/+dirty/; s/-/~/g' <<<"$VERSION") ;;
  [0-9]*.*) DEBVERSION=${VERSION//-/\~} ;;
  *) DEBVERSION=0~$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M)+${VERSION//-/+} ;;
esac
export DEBVERSION

zip() { gzip -9 -n -c "$1" >"$2"; }

for arch in "$@"; do
  STAGE=bin/stage-$arch
  export STAGE
  rm -rf "$STAGE"
  mkdir -p "$STAGE"
  # armhf with GOARM=6 runs on every Raspberry Pi. nfpm's name for Debian's armhf is arm7.
  goarch=$arch goarm='' ARCH=$arch
  if [ "$arch" = armhf ]; then goarch=arm goarm=6 ARCH=arm7; fi
  export ARCH
  # -buildvcs=false: a build from an archive of the source is that from a clone.
  CGO_ENABLED=0 GOOS=linux GOARCH=$goarch GOARM=$goarm go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X github.com/nightjar-mqtt/nightjar/internal/cli.version=$VERSION" -o "$STAGE/nightjar" ./cmd/nightjar
  go run -trimpath ./docs/man -out "$STAGE/doc" -version "$VERSION" -date "$date"
  go run -trimpath ./deploy/sbom -version "$VERSION" -sbom "$STAGE/sbom" -licences "$STAGE/licences" "$STAGE/nightjar"
  for page in "$STAGE"/doc/man?/*; do zip "$page" "$page.gz" && rm "$page"; done
  # Debian wants a changelog in its own format; ours is beside it.
  maintainer=$(sed -n 's/^maintainer: //p' deploy/debian/nfpm.yaml)
  printf 'nightjar (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.gz.\n\n -- %s  %s\n' \
    "$DEBVERSION" "$maintainer" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" >"$STAGE/changelog"
  zip "$STAGE/changelog" "$STAGE/changelog.gz"
  zip CHANGELOG.md "$STAGE/CHANGELOG.md.gz"
  zip "$STAGE/sbom" "$STAGE/sbom.gz"
  zip "$STAGE/licences" "$STAGE/licences.gz"
  go tool -modfile=tools/nfpm/go.mod nfpm package -f deploy/debian/nfpm.yaml -p deb -t "bin/nightjar_${DEBVERSION}_$arch.deb"
done
