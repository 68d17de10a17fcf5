#!/usr/bin/env bash
# Renews cmd/nightjar/default.pgo, the profile that `go build` optimises the broker with: it runs the broker, built without one,
# under the loads of bench/compare and merges what it was busy with.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
broker=
trap '[ -z "$broker" ] || kill "$broker"; rm -rf "$work"' EXIT

CGO_ENABLED=0 go build -trimpath -pgo=off -o "$work/nightjar" ./cmd/nightjar
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost \
  -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null

# take NAME SCHEME SCENARIO...: a profile of 5 seconds.
take() {
  local name=$1 scheme=$2
  shift 2
  "$work/nightjar" serve --data none --max-queued-messages 0 --listen "$scheme://127.0.0.1:0" --cert "$work/cert.pem" --key "$work/key.pem" \
    --profile 127.0.0.1:0 >"$work/out" 2>"$work/err" &
  broker=$!
  until grep -q 'debug/pprof' "$work/err" && grep -q '127\.0\.0\.1' "$work/out"; do
    kill -0 "$broker" || { cat "$work/err"; exit 1; }
    sleep 0.1
  done
  local port url
  port=$(grep -o '127\.0\.0\.1:[0-9]*' "$work/out" | head -1 | cut -d: -f2)
  url=$(grep -o 'http://[^ ]*debug/pprof/' "$work/err")
  "$work/nightjar" bench "$@" --port "$port" --duration 6s --warmup 500ms --quiet >/dev/null &
  local load=$!
  sleep 0.8
  curl -sf -o "$work/$name.prof" "${url}profile?seconds=5"
  wait "$load"
  kill "$broker"
  wait "$broker" || true
  broker=
}

take pairs mqtt pairs --burst 32 --window 2048
take many mqtt pairs --clients 50 --window 16
take qos1 mqtt pairs --clients 10 --qos 1 --burst 16 --window 256
take qos2 mqtt pairs --clients 10 --qos 2 --window 256
take v5 mqtt pairs --clients 5 --burst 4 -V 5
take fanout mqtt fanout --clients 100 --window 100
take fanin mqtt fanin --clients 1000 --rate 20000
take mixed mqtt mixed
take connect mqtt connect --sources 8
take ws ws fanout --clients 100 --window 100 --ws
take tls mqtts fanout --clients 100 --window 100 --insecure

go tool pprof -proto "$work"/*.prof >"$work/default.pgo"
mv "$work/default.pgo" cmd/nightjar/default.pgo
ls -l cmd/nightjar/default.pgo
