#!/bin/bash
# Interop steps with mosquitto_pub and mosquitto_sub. Called with HOST PORT VERSION [SCHEME CAFILE]; see ../README.md.
set -u
host=$1 port=$2 version=$3
to=(-h "$host" -p "$port")
[ "${4-mqtt}" = mqtt ] || to+=(--cafile "$5")
wait=10
prefix=interop/mosquitto-$version-$$
texts=(1 2 "3 grün ☕")
session=() # what keeps a session beyond the connection
case $version in
3.1) protocol=mqttv31 session=(-c) ;;
3.1.1) protocol=mqttv311 session=(-c) ;;
5) protocol=mqttv5 session=(-c -x 300) ;;
esac
subs=() # pids of subscribers still running

# fail ends the step, which runs in a shell of its own.
fail() {
    echo "$*" >&3
    exit 1
}

want() { # WHAT GOT EXPECTED
    [ "$2" = "$3" ] || fail "$1: got '$2', want '$3'"
}

id() { # NAME: at most the 23 bytes that MQTT 3.1 allows
    local s=m$version-$$-$1
    echo "${s:0:23}"
}

pub() { # TOPIC ARGUMENT...
    local topic=$1
    shift
    timeout $wait mosquitto_pub "${to[@]}" -V $protocol -t "$prefix/$topic" "$@" >&2 ||
        fail "mosquitto_pub to $topic ended with code $?"
}

# sub starts a subscriber and returns once SUBACK came. It sets fd, for `next`, and pid.
sub() { # NAME ARGUMENT...
    local name=$1 line
    shift
    exec {fd}< <(exec stdbuf -oL mosquitto_sub -d "${to[@]}" -V $protocol -i "$(id "$name")" \
        -F 'MSG %t|%p|%q|%r' "$@" 2>&1)
    pid=$!
    subs+=("$pid")
    while read -r -t $wait -u "$fd" line; do
        case $line in Subscribed*) return ;; esac
    done
    fail "$name got no SUBACK; last line: ${line-}"
}

# next prints a subscriber's next message as topic|payload|QoS|retain, the topic without the prefix.
next() { # FD
    local line
    while read -r -t $wait -u "$1" line; do
        case $line in MSG\ *)
            line=${line#MSG }
            echo "${line#"$prefix/"}"
            return
            ;;
        esac
    done
    echo "no message within $wait s"
}

# leave ends subscribers politely: on SIGTERM they send DISCONNECT.
leave() {
    [ ${#subs[@]} -eq 0 ] || kill "${subs[@]}" 2>/dev/null
    subs=()
}

connect() {
    timeout $wait mosquitto_sub "${to[@]}" -V $protocol -i "$(id connect)" -t "$prefix/none" -E >&2 ||
        fail "mosquitto_sub -E ended with code $?"
}

qos() { # LEVEL
    sub sub -t "$prefix/qos$1" -q "$1"
    printf '%s\n' "${texts[@]}" | pub "qos$1" -q "$1" -l || exit 1
    local text
    for text in "${texts[@]}"; do
        want message "$(next "$fd")" "qos$1|$text|$1|0"
    done
}

wildcards() {
    sub sub -q 1 -t "$prefix/w/+/temp" -t "$prefix/w/deep/#"
    local topic
    for topic in a/temp a/b/temp temp deep deep/x/y deeper end/temp; do
        pub "w/$topic" -q 1 -m x
    done
    local got=()
    for _ in 1 2 3 4; do
        got+=("$(next "$fd")")
    done
    want topics "$(printf '%s\n' "${got[@]%%|*}" | LC_ALL=C sort | tr '\n' ' ')" "w/a/temp w/deep w/deep/x/y w/end/temp "
}

retained() {
    local early late none
    pub r/one -q 1 -r -m first
    sub early -q 1 -t "$prefix/r/+"
    early=$fd
    want "retained on subscribe" "$(next "$early")" "r/one|first|1|1"
    pub r/one -q 1 -r -m second
    want "live message" "$(next "$early")" "r/one|second|1|0"
    sub late -q 1 -t "$prefix/r/#"
    late=$fd
    want "replaced retained message" "$(next "$late")" "r/one|second|1|1"
    pub r/one -q 1 -r -n
    sub none -q 1 -t "$prefix/r/+"
    none=$fd
    pub r/end -q 1 -m end
    want "after clearing" "$(next "$none")" "r/end|end|1|0"
}

will() {
    local watch
    sub watch -q 1 -t "$prefix/will"
    watch=$fd
    timeout $wait mosquitto_sub "${to[@]}" -V $protocol -i "$(id polite)" -t "$prefix/none" -E \
        --will-topic "$prefix/will" --will-payload clean --will-qos 1 >&2 || fail "polite ended with code $?"
    sub lost -t "$prefix/none" --will-topic "$prefix/will" --will-payload lost --will-qos 1
    kill -KILL "$pid"
    want will "$(next "$watch")" "will|lost|1|0"
}

# visit connects as "res" and prints what the session holds. mosquitto_sub always subscribes to something, so a filter
# that matches nothing stands for no subscription.
visit() { # ARGUMENT...
    timeout $((wait + 5)) mosquitto_sub "${to[@]}" -V $protocol -i "$(id res)" -F '%t|%p|%q|%r' "$@"
}

resume() {
    visit -t "$prefix/none" -E # clean: whatever was there is gone
    visit "${session[@]}" -q 2 -t "$prefix/res/#" -E || fail "subscribing ended with code $?"
    local text got level expected
    for text in "${texts[@]}"; do
        pub res/1 -q 1 -m "$text"
        pub res/2 -q 2 -m "$text"
    done
    got=$(visit "${session[@]}" -t "$prefix/none" -C 6 -W $wait) || fail "ended with code $? after: $got"
    for level in 1 2; do
        expected=$(printf "$prefix/res/$level|%s|$level|0\n" "${texts[@]}")
        want "QoS $level messages" "$(grep "|$level|.\$" <<<"$got")" "$expected"
    done
    visit -t "$prefix/none" -E # clean: forgets the session and its subscription
    visit "${session[@]}" -q 1 -t "$prefix/end" -E || fail "a new session ended with code $?"
    pub res/1 -q 1 -m late # would be queued first if the old subscription were still there
    pub end -q 1 -m end
    got=$(visit "${session[@]}" -q 1 -t "$prefix/end" -C 1 -W $wait)
    want "first message after a clean start" "$got" "$prefix/end|end|1|0"
    visit -t "$prefix/none" -E
}

properties() {
    local format='MSG %t|%p|%C|%R|%D|%F|%S|%P|%E' got
    sub sub -q 1 -t "$prefix/prop" -D subscribe subscription-identifier 7 -F "$format"
    pub prop -q 1 -m x -D publish content-type text/plain -D publish response-topic "$prefix/reply" \
        -D publish correlation-data a-b -D publish payload-format-indicator 1 -D publish message-expiry-interval 100 \
        -D publish user-property k 1 -D publish user-property k 2 -D publish user-property a z
    got=$(next "$fd")
    want properties "${got%|*}" "prop|x|text/plain|$prefix/reply|a-b|1|7|k:1 k:2 a:z"
    case ${got##*|} in 9[0-9] | 100) ;; *) fail "message expiry left: ${got##*|}, want 100 or little less" ;; esac
}

steps=(connect "qos 0" "qos 1" "qos 2" wildcards retained will resume)
[ "$version" != 5 ] || steps+=(properties)
failed=0
for step in "${steps[@]}"; do
    # A shell of its own, so that fail ends the step only; why comes through descriptor 3.
    if why=$({ (trap leave EXIT && $step) 3>&1 >&2; }); then
        echo "ok ${step// /}"
    else
        failed=1
        echo "FAIL ${step// /} ${why:-ended without a reason}" | tr '\n' ' '
        echo
    fi
done
exit $failed
