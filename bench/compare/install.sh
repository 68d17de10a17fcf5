#!/usr/bin/env bash
# Installs what bench/compare compares with: from Debian mosquitto, rabbitmq-server and, if there is none, node with npm;
# aedes from npm. mochi and nats are built from bench/peers by bench/compare itself.
set -euo pipefail
cd "$(dirname "$0")/../.."

need=()
[ -x /usr/sbin/mosquitto ] || command -v mosquitto >/dev/null || need+=(mosquitto)
compgen -G '/usr/lib/rabbitmq/lib/rabbitmq_server-*' >/dev/null || need+=(rabbitmq-server)
command -v npm >/dev/null || need+=(nodejs npm)
if [ ${#need[@]} -gt 0 ]; then
  echo "bench/compare/install.sh: installing ${need[*]} with apt-get"
  sudo=
  [ "$(id -u)" -eq 0 ] || sudo=sudo
  export DEBIAN_FRONTEND=noninteractive
  # A service that starts by itself would take ports and CPU time: none is started.
  policy=/usr/sbin/policy-rc.d
  made=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod +x "$policy"
    made=1
  fi
  trap '[ -z "$made" ] || $sudo rm -f "$policy"' EXIT
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi
npm ci --prefix bench/peers/aedes --omit=dev --no-audit --no-fund
go -C bench/peers mod download
