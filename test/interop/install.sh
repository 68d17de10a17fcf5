#!/usr/bin/env bash
# Installs what test/interop runs: Debian's packages of clients and languages, the npm packages of js/ and the Go modules
# of goclients/. It says what it installs and skips what is there.
set -euo pipefail
cd "$(dirname "$0")"

need=()
# wants PACKAGE FILE: the package is needed unless the file or command exists.
wants() {
  case $2 in
  /*) [ -e "$2" ] || need+=("$1") ;;
  *) command -v "$2" >/dev/null || need+=("$1") ;;
  esac
}
[ -x /usr/sbin/mosquitto ] || wants mosquitto mosquitto
wants mosquitto-clients mosquitto_sub
wants python3 /usr/bin/python3
wants python3-paho-mqtt /usr/lib/python3/dist-packages/paho
wants gcc gcc
wants g++ g++
wants libpaho-mqtt-dev /usr/include/MQTTClient.h
wants libpaho-mqttpp-dev /usr/include/mqtt/async_client.h
wants default-jdk-headless javac
wants libmqtt-client-java /usr/share/java/mqtt-client.jar
wants nodejs node
wants npm npm
wants ruby ruby
wants perl perl
wants php-cli php

if [ ${#need[@]} -gt 0 ]; then
  echo "test/interop/install.sh: installing ${need[*]} with apt-get"
  sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  # A broker that starts by itself would sit on port 1883: no service is started.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap '"${sudo[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
    "${sudo[@]}" chmod +x "$policy"
  fi
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi

# The copy of the lock file tells whether node_modules is what it asks for.
if ! cmp -s js/package-lock.json js/node_modules/.installed-lock.json; then
  echo "test/interop/install.sh: installing the npm packages of test/interop/js with npm ci"
  (cd js && npm ci --silent --no-progress)
  cp js/package-lock.json js/node_modules/.installed-lock.json
fi

if ! (cd goclients && GOWORK=off GOFLAGS=-mod=readonly GOPROXY=off go list -deps ./... >/dev/null 2>&1); then
  echo "test/interop/install.sh: downloading the Go modules of test/interop/goclients"
  (cd goclients && GOWORK=off go mod download)
fi
