#!/usr/bin/env bash
# Installs what the tests of the client, of the commands and of the protocol
# need from Debian: mosquitto (broker to compare with), mosquitto-clients, openssl,
# haproxy (the PROXY protocol as it is spoken), prometheus (promtool, which checks the metrics),
# man-db (the manual pages are printed without a warning), systemd, logrotate and adduser (the Debian package is installed in a
# system of its own).
# What test/interop needs is installed by test/interop/install.sh.
set -euo pipefail

need=()
[ -x /usr/sbin/mosquitto ] || command -v mosquitto >/dev/null || need+=(mosquitto)
command -v mosquitto_sub >/dev/null || need+=(mosquitto-clients)
command -v openssl >/dev/null || need+=(openssl)
command -v promtool >/dev/null || need+=(prometheus)
[ -x /usr/sbin/haproxy ] || need+=(haproxy)
command -v man >/dev/null || need+=(man-db)
[ -x /lib/systemd/systemd ] || need+=(systemd)
[ -x /usr/sbin/logrotate ] || need+=(logrotate)
command -v adduser >/dev/null || need+=(adduser)
if [ ${#need[@]} -eq 0 ]; then
  exit 0
fi
echo "test/install.sh: installing ${need[*]} with apt-get"
sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
export DEBIAN_FRONTEND=noninteractive
# A service that starts by itself would sit on port 1883: none is started.
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
