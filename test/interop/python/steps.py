"""Interop steps with paho-mqtt 1.x (Debian's python3-paho-mqtt). Called with HOST PORT VERSION
[SCHEME CAFILE]; see ../README.md."""

import os
import queue
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

HOST, PORT, VERSION = sys.argv[1], int(sys.argv[2]), sys.argv[3]
SCHEME, CA = sys.argv[4:6] if len(sys.argv) > 4 else ("mqtt", None)
PROTOCOL = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}[VERSION]
V5 = VERSION == "5"
WAIT = 10
PREFIX = f"interop/python-{VERSION}-{os.getpid()}"
TEXTS = ["1", "2", "3 grün ☕"]


class Failed(Exception):
    """A step's expectation does not hold."""


def want(got, expected, what):
    if got != expected:
        raise Failed(f"{what}: got {got!r}, want {expected!r}")


def properties(packet, **values):
    props = Properties(packet)
    for name, value in values.items():
        setattr(props, name, value)
    return props


class Peer:
    """One connected client, with what it receives in a queue."""

    def __init__(self, name, clean=True, will=None):
        # 23 bytes is all that MQTT 3.1 allows.
        client_id = f"py{VERSION}-{os.getpid()}-{name}"[:23]
        args = {} if V5 else {"clean_session": clean}
        self.client = mqtt.Client(client_id=client_id, protocol=PROTOCOL,
                                  transport="websockets" if SCHEME in ("ws", "wss") else "tcp", **args)
        if SCHEME in ("mqtts", "wss"):
            self.client.tls_set(ca_certs=CA)
        self.inbox = queue.Queue()
        self.acked = queue.Queue()
        self.connack = queue.Queue()
        self.client.on_message = lambda c, u, m: self.inbox.put(m)
        self.client.on_subscribe = lambda c, u, mid, codes, *rest: self.acked.put((mid, codes))
        self.client.on_connect = lambda c, u, flags, rc, *rest: self.connack.put((int(getattr(rc, "value", rc)), flags))
        if will:
            self.client.will_set(f"{PREFIX}/will", will, qos=1)
        if V5:
            expiry = properties(PacketTypes.CONNECT, SessionExpiryInterval=0 if clean else 300)
            self.client.connect(HOST, PORT, clean_start=clean, properties=expiry)
        else:
            self.client.connect(HOST, PORT)
        self.client.loop_start()
        code, flags = self.take(self.connack, "CONNACK")
        want(code, 0, "CONNACK code")
        self.session_present = bool(flags["session present"])

    @staticmethod
    def take(q, what):
        try:
            return q.get(timeout=WAIT)
        except queue.Empty:
            raise Failed(f"{what} did not come within {WAIT} s") from None

    def subscribe(self, topic, qos, **props):
        extra = {"properties": properties(PacketTypes.SUBSCRIBE, **props)} if props else {}
        _, mid = self.client.subscribe(topic, qos, **extra)
        got, codes = self.take(self.acked, "SUBACK")
        want((got, [int(getattr(c, "value", c)) for c in codes]), (mid, [qos]), "SUBACK of " + topic)

    def publish(self, topic, text, qos=1, retain=False, **extra):
        info = self.client.publish(f"{PREFIX}/{topic}", text, qos, retain, **extra)
        done = threading.Event()
        threading.Thread(target=lambda: (info.wait_for_publish(), done.set()), daemon=True).start()
        if not done.wait(WAIT):
            raise Failed(f"PUBLISH to {topic} was not acknowledged within {WAIT} s")

    def receive(self):
        m = self.take(self.inbox, "a message")
        return m.topic[len(PREFIX) + 1:], m.payload.decode(), m.qos, bool(m.retain)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()

    def drop(self):
        """Closes the socket without DISCONNECT."""
        self.client.loop_stop()
        self.client.socket().close()


def connect():
    a = Peer("connect")
    want(a.session_present, False, "session present")
    a.close()


def qos(level):
    sub, pub = Peer("sub"), Peer("pub")
    sub.subscribe(f"{PREFIX}/qos{level}", level)
    for text in TEXTS:
        pub.publish(f"qos{level}", text, level)
    for text in TEXTS:
        want(sub.receive(), (f"qos{level}", text, level, False), "message")
    sub.close()
    pub.close()


def wildcards():
    sub, pub = Peer("sub"), Peer("pub")
    sub.subscribe(f"{PREFIX}/w/+/temp", 1)
    sub.subscribe(f"{PREFIX}/w/deep/#", 1)
    for topic in ["a/temp", "a/b/temp", "temp", "deep", "deep/x/y", "deeper", "end/temp"]:
        pub.publish("w/" + topic, "x")
    got = sorted(sub.receive()[0] for _ in range(4))
    want(got, ["w/a/temp", "w/deep", "w/deep/x/y", "w/end/temp"], "topics")
    sub.close()
    pub.close()


def retained():
    pub, early, late, none = Peer("pub"), Peer("early"), Peer("late"), Peer("none")
    pub.publish("r/one", "first", retain=True)
    early.subscribe(f"{PREFIX}/r/+", 1)
    want(early.receive(), ("r/one", "first", 1, True), "retained on subscribe")
    pub.publish("r/one", "second", retain=True)
    want(early.receive(), ("r/one", "second", 1, False), "live message")
    late.subscribe(f"{PREFIX}/r/#", 1)
    want(late.receive(), ("r/one", "second", 1, True), "replaced retained message")
    pub.publish("r/one", "", retain=True)
    none.subscribe(f"{PREFIX}/r/+", 1)
    pub.publish("r/end", "end")
    want(none.receive(), ("r/end", "end", 1, False), "after clearing")
    for p in (pub, early, late, none):
        p.close()


def will():
    watch = Peer("watch")
    watch.subscribe(f"{PREFIX}/will", 1)
    Peer("polite", will="clean").close()
    Peer("lost", will="lost").drop()
    want(watch.receive(), ("will", "lost", 1, False), "will")
    watch.close()


def resume():
    Peer("res").close()  # clean: whatever was there is gone
    first = Peer("res", clean=False)
    want(first.session_present, False, "session present at first")
    first.subscribe(f"{PREFIX}/res/#", 2)
    first.close()
    pub = Peer("pub")
    for level in (1, 2):
        for text in TEXTS:
            pub.publish(f"res/{level}", text, level)
    pub.close()
    again = Peer("res", clean=False)
    if VERSION != "3.1":  # 3.1 has no such flag
        want(again.session_present, True, "session present on return")
    got = [again.receive() for _ in range(6)]
    for level in (1, 2):
        mine = [m for m in got if m[2] == level]
        want(mine, [(f"res/{level}", text, level, False) for text in TEXTS], f"QoS {level} messages in order")
    again.close()
    last = Peer("res")
    want(last.session_present, False, "session present after a clean start")
    last.close()


def properties_step():
    sub, pub = Peer("sub"), Peer("pub")
    sub.subscribe(f"{PREFIX}/prop", 1, SubscriptionIdentifier=7)
    sent = properties(PacketTypes.PUBLISH, ContentType="text/plain", ResponseTopic=f"{PREFIX}/reply",
                      CorrelationData=b"\x00\x01\xff", PayloadFormatIndicator=1, MessageExpiryInterval=100,
                      UserProperty=[("k", "1"), ("k", "2"), ("a", "z")])
    pub.publish("prop", "x", properties=sent)
    got = sub.take(sub.inbox, "a message").properties
    want(got.ContentType, "text/plain", "content type")
    want(got.ResponseTopic, f"{PREFIX}/reply", "response topic")
    want(got.CorrelationData, b"\x00\x01\xff", "correlation data")
    want(got.PayloadFormatIndicator, 1, "payload format")
    want(got.UserProperty, [("k", "1"), ("k", "2"), ("a", "z")], "user properties")
    want(list(got.SubscriptionIdentifier), [7], "subscription identifiers")
    want(90 <= got.MessageExpiryInterval <= 100, True, "message expiry left")
    sub.close()
    pub.close()


STEPS = {"connect": connect, "qos0": lambda: qos(0), "qos1": lambda: qos(1), "qos2": lambda: qos(2),
         "wildcards": wildcards, "retained": retained, "will": will, "resume": resume}
if V5:
    STEPS["properties"] = properties_step

failed = False
for step, run in STEPS.items():
    try:
        run()
        print("ok", step, flush=True)
    except Exception as e:  # any exception is this step's failure; the others still run
        failed = True
        print("FAIL", step, f"{type(e).__name__}: {e}".replace("\n", " "), flush=True)
os._exit(1 if failed else 0)  # not sys.exit: a client left over by a failed step must not hold the end up
