// Interop steps with the npm package mqtt. Called with HOST PORT VERSION [SCHEME CAFILE]; see ../README.md.
import { readFileSync } from "node:fs";
import { isDeepStrictEqual, inspect } from "node:util";
import { connect as connectTo } from "mqtt";

const [host, port, version, scheme = "mqtt", caFile] = process.argv.slice(2);
const ca = caFile && readFileSync(caFile);
const v5 = version === "5";
const waitMs = 10_000;
const prefix = `interop/js-${version}-${process.pid}`;
const texts = ["1", "2", "3 grün ☕"];

function want(what, got, expected) {
  if (!isDeepStrictEqual(got, expected)) {
    throw new Error(`${what}: got ${inspect(got)}, want ${inspect(expected)}`);
  }
}

// within rejects when a promise takes too long; the timer does not outlive the promise.
function within(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took more than ${waitMs} ms`)), waitMs);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// A Peer is one connected client.
class Peer {
  #inbox = [];
  #waiting = [];

  // A will, when given, goes to PREFIX/will with QoS 1.
  static async open(name, { clean = true, will } = {}) {
    const peer = new Peer();
    const options = {
      protocol: scheme,
      path: "/mqtt",
      ca,
      host,
      port: Number(port),
      // 23 bytes is all that MQTT 3.1 allows.
      clientId: `js${version}-${process.pid}-${name}`.slice(0, 23),
      protocolId: version === "3.1" ? "MQIsdp" : "MQTT",
      protocolVersion: { "3.1": 3, "3.1.1": 4, 5: 5 }[version],
      clean,
      reconnectPeriod: 0,
      connectTimeout: waitMs,
      resubscribe: false,
    };
    if (v5) options.properties = { sessionExpiryInterval: clean ? 0 : 300 };
    if (will) options.will = { topic: `${prefix}/will`, payload: Buffer.from(will), qos: 1, retain: false };
    // Listeners have to be there before CONNACK: a resumed session's messages follow it at once.
    peer.client = connectTo(options);
    peer.client.on("message", (topic, payload, packet) => peer.#arrive({ topic, payload, packet }));
    const connack = await within(
      "CONNECT",
      new Promise((resolve, reject) => {
        peer.client.once("connect", resolve);
        peer.client.once("error", reject);
        peer.client.once("close", () => reject(new Error("connection closed")));
      }),
    );
    peer.client.on("error", () => {}); // a step sees it as a message that does not come
    peer.sessionPresent = connack.sessionPresent;
    return peer;
  }

  #arrive(m) {
    const taker = this.#waiting.shift();
    if (taker) taker(m);
    else this.#inbox.push(m);
  }

  async subscribe(topic, qos, properties) {
    const granted = await within("SUBSCRIBE", this.client.subscribeAsync(`${prefix}/${topic}`, { qos, properties }));
    want(`SUBACK of ${topic}`, granted.map((g) => g.qos), [qos]);
  }

  publish(topic, text, { qos = 1, retain = false, properties } = {}) {
    return within("PUBLISH", this.client.publishAsync(`${prefix}/${topic}`, text, { qos, retain, properties }));
  }

  receiveRaw() {
    const m = this.#inbox.shift();
    return m ? Promise.resolve(m) : within("a message", new Promise((resolve) => this.#waiting.push(resolve)));
  }

  async receive() {
    const { topic, payload, packet } = await this.receiveRaw();
    return [topic.slice(prefix.length + 1), payload.toString(), packet.qos, packet.retain];
  }

  close() {
    return within("DISCONNECT", this.client.endAsync());
  }

  // drop closes the socket without DISCONNECT.
  drop() {
    this.client.stream.destroy();
  }
}

async function connect() {
  const a = await Peer.open("connect");
  want("session present", a.sessionPresent, false);
  await a.close();
}

const qos = (level) => async () => {
  const [sub, pub] = [await Peer.open("sub"), await Peer.open("pub")];
  await sub.subscribe(`qos${level}`, level);
  for (const text of texts) await pub.publish(`qos${level}`, text, { qos: level });
  for (const text of texts) want("message", await sub.receive(), [`qos${level}`, text, level, false]);
  await sub.close();
  await pub.close();
};

async function wildcards() {
  const [sub, pub] = [await Peer.open("sub"), await Peer.open("pub")];
  await sub.subscribe("w/+/temp", 1);
  await sub.subscribe("w/deep/#", 1);
  for (const topic of ["a/temp", "a/b/temp", "temp", "deep", "deep/x/y", "deeper", "end/temp"]) {
    await pub.publish(`w/${topic}`, "x");
  }
  const got = [];
  for (let i = 0; i < 4; i++) got.push((await sub.receive())[0]);
  want("topics", got.sort(), ["w/a/temp", "w/deep", "w/deep/x/y", "w/end/temp"]);
  await sub.close();
  await pub.close();
}

async function retained() {
  const [pub, early, late, none] = await Promise.all(["pub", "early", "late", "none"].map((name) => Peer.open(name)));
  await pub.publish("r/one", "first", { retain: true });
  await early.subscribe("r/+", 1);
  want("retained on subscribe", await early.receive(), ["r/one", "first", 1, true]);
  await pub.publish("r/one", "second", { retain: true });
  want("live message", await early.receive(), ["r/one", "second", 1, false]);
  await late.subscribe("r/#", 1);
  want("replaced retained message", await late.receive(), ["r/one", "second", 1, true]);
  await pub.publish("r/one", "", { retain: true });
  await none.subscribe("r/+", 1);
  await pub.publish("r/end", "end");
  want("after clearing", await none.receive(), ["r/end", "end", 1, false]);
  await Promise.all([pub, early, late, none].map((p) => p.close()));
}

async function will() {
  const watch = await Peer.open("watch");
  await watch.subscribe("will", 1);
  await (await Peer.open("polite", { will: "clean" })).close();
  (await Peer.open("lost", { will: "lost" })).drop();
  want("will", await watch.receive(), ["will", "lost", 1, false]);
  await watch.close();
}

async function resume() {
  await (await Peer.open("res")).close(); // clean: whatever was there is gone
  const first = await Peer.open("res", { clean: false });
  want("session present at first", first.sessionPresent, false);
  await first.subscribe("res/#", 2);
  await first.close();
  const pub = await Peer.open("pub");
  for (const text of texts) {
    await pub.publish("res/1", text, { qos: 1 });
    await pub.publish("res/2", text, { qos: 2 });
  }
  await pub.close();
  const again = await Peer.open("res", { clean: false });
  // 3.1 has no such flag.
  if (version !== "3.1") want("session present on return", again.sessionPresent, true);
  const got = [];
  for (let i = 0; i < 2 * texts.length; i++) got.push(await again.receive());
  for (const level of [1, 2]) {
    const expected = texts.map((text) => [`res/${level}`, text, level, false]);
    want(`QoS ${level} messages in order`, got.filter((m) => m[2] === level), expected);
  }
  await again.close();
  const last = await Peer.open("res");
  want("session present after a clean start", last.sessionPresent, false);
  await last.close();
}

async function properties() {
  const [sub, pub] = [await Peer.open("sub"), await Peer.open("pub")];
  await sub.subscribe("prop", 1, { subscriptionIdentifier: 7 });
  const sent = {
    contentType: "text/plain",
    responseTopic: `${prefix}/reply`,
    correlationData: Buffer.from([0, 1, 255]),
    payloadFormatIndicator: true,
    userProperties: { k: ["1", "2"], a: "z" },
  };
  await pub.publish("prop", "x", { properties: { ...sent, messageExpiryInterval: 100 } });
  const { messageExpiryInterval: left, ...got } = (await sub.receiveRaw()).packet.properties;
  got.userProperties = { ...got.userProperties }; // the library's object has no prototype
  want("properties", got, { ...sent, subscriptionIdentifier: 7 });
  want("message expiry left is 90 to 100", left >= 90 && left <= 100, true);
  await sub.close();
  await pub.close();
}

const steps = { connect, qos0: qos(0), qos1: qos(1), qos2: qos(2), wildcards, retained, will, resume };
if (v5) steps.properties = properties;
let failed = false;
for (const [step, run] of Object.entries(steps)) {
  try {
    await run();
    console.log(`ok ${step}`);
  } catch (e) {
    failed = true;
    console.log(`FAIL ${step} ${String(e.message ?? e).replaceAll("\n", " ")}`);
  }
}
process.exit(failed ? 1 : 0); // a client left over by a failed step must not hold the end up
