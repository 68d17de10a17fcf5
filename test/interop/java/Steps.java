import java.net.ProtocolException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import org.fusesource.mqtt.client.FutureConnection;
import org.fusesource.mqtt.client.MQTT;
import org.fusesource.mqtt.client.Message;
import org.fusesource.mqtt.client.QoS;
import org.fusesource.mqtt.client.Topic;
import org.fusesource.mqtt.client.Tracer;
import org.fusesource.mqtt.codec.CONNACK;
import org.fusesource.mqtt.codec.MQTTFrame;
import org.fusesource.mqtt.codec.PUBLISH;

/** Interop steps with Fusesource's client (Debian's libmqtt-client-java). Called with HOST PORT VERSION; see ../README.md. */
public final class Steps {
    static final int WAIT_SECONDS = 10;
    static final List<String> TEXTS = List.of("1", "2", "3 gr\u00fcn \u2615");

    static String host;
    static int port;
    static String version;
    static String prefix;

    interface Step {
        void run() throws Exception;
    }

    /** What came; topic is without PREFIX/. */
    record Received(String topic, String text, int qos, boolean retain) {}

    static void want(String what, Object got, Object expected) {
        if (!got.equals(expected)) {
            throw new IllegalStateException(what + ": got " + got + ", want " + expected);
        }
    }

    /** One connected client. */
    static final class Peer implements AutoCloseable {
        final FutureConnection connection;
        volatile boolean sessionPresent;
        // The library's Message has neither QoS nor retain, its frames do; both come in the same order.
        final Queue<PUBLISH> publishes = new ConcurrentLinkedQueue<>();

        Peer(String name, boolean clean, String will) throws Exception {
            MQTT mqtt = new MQTT();
            mqtt.setHost(host, port);
            mqtt.setVersion(version);
            // 23 bytes is all that MQTT 3.1 allows.
            String id = "j" + version + "-" + ProcessHandle.current().pid() + "-" + name;
            mqtt.setClientId(id.substring(0, Math.min(23, id.length())));
            mqtt.setCleanSession(clean);
            mqtt.setConnectAttemptsMax(0);
            mqtt.setReconnectAttemptsMax(0);
            if (will != null) {
                mqtt.setWillTopic(prefix + "/will");
                mqtt.setWillMessage(will);
                mqtt.setWillQos(QoS.AT_LEAST_ONCE);
            }
            mqtt.setTracer(new Tracer() {
                @Override
                public void onReceive(MQTTFrame frame) {
                    look(frame);
                }
            });
            connection = mqtt.futureConnection();
            connection.connect().await(WAIT_SECONDS, TimeUnit.SECONDS);
        }

        Peer(String name) throws Exception {
            this(name, true, null);
        }

        private void look(MQTTFrame frame) {
            try {
                if (frame.messageType() == CONNACK.TYPE) {
                    sessionPresent = (frame.buffers()[0].get(0) & 1) != 0;
                } else if (frame.messageType() == PUBLISH.TYPE) {
                    publishes.add(new PUBLISH().decode(frame));
                }
            } catch (ProtocolException e) {
                throw new IllegalStateException(e);
            }
        }

        void subscribe(String topic, int qos) throws Exception {
            Topic[] topics = {new Topic(prefix + "/" + topic, QoS.values()[qos])};
            byte[] granted = connection.subscribe(topics).await(WAIT_SECONDS, TimeUnit.SECONDS);
            want("SUBACK code", (int) granted[0], qos);
        }

        void publish(String topic, String text, int qos, boolean retain) throws Exception {
            byte[] payload = text.getBytes(StandardCharsets.UTF_8);
            connection.publish(prefix + "/" + topic, payload, QoS.values()[qos], retain).await(WAIT_SECONDS, TimeUnit.SECONDS);
        }

        Received receive() throws Exception {
            Message m = connection.receive().await(WAIT_SECONDS, TimeUnit.SECONDS);
            m.ack();
            PUBLISH p = publishes.remove();
            want("topic of the frame", p.topicName().toString(), m.getTopic());
            String text = new String(m.getPayload(), StandardCharsets.UTF_8);
            return new Received(m.getTopic().substring(prefix.length() + 1), text, p.qos().ordinal(), p.retain());
        }

        @Override
        public void close() throws Exception {
            connection.disconnect().await(WAIT_SECONDS, TimeUnit.SECONDS);
        }

        /** Closes the socket without DISCONNECT. */
        void drop() throws Exception {
            connection.kill().await(WAIT_SECONDS, TimeUnit.SECONDS);
        }
    }

    static void connect() throws Exception {
        try (Peer a = new Peer("connect")) {
            want("session present", a.sessionPresent, false);
        }
    }

    static void qos(int level) throws Exception {
        String topic = "qos" + level;
        try (Peer sub = new Peer("sub"); Peer pub = new Peer("pub")) {
            sub.subscribe(topic, level);
            for (String text : TEXTS) {
                pub.publish(topic, text, level, false);
            }
            for (String text : TEXTS) {
                want("message", sub.receive(), new Received(topic, text, level, false));
            }
        }
    }

    static void wildcards() throws Exception {
        try (Peer sub = new Peer("sub"); Peer pub = new Peer("pub")) {
            sub.subscribe("w/+/temp", 1);
            sub.subscribe("w/deep/#", 1);
            for (String topic : List.of("a/temp", "a/b/temp", "temp", "deep", "deep/x/y", "deeper", "end/temp")) {
                pub.publish("w/" + topic, "x", 1, false);
            }
            List<String> got = new ArrayList<>();
            for (int i = 0; i < 4; i++) {
                got.add(sub.receive().topic());
            }
            want("topics", new TreeSet<>(got).toString(), "[w/a/temp, w/deep, w/deep/x/y, w/end/temp]");
        }
    }

    static void retained() throws Exception {
        try (Peer pub = new Peer("pub"); Peer early = new Peer("early"); Peer late = new Peer("late");
                Peer none = new Peer("none")) {
            pub.publish("r/one", "first", 1, true);
            early.subscribe("r/+", 1);
            want("retained on subscribe", early.receive(), new Received("r/one", "first", 1, true));
            pub.publish("r/one", "second", 1, true);
            want("live message", early.receive(), new Received("r/one", "second", 1, false));
            late.subscribe("r/#", 1);
            want("replaced retained message", late.receive(), new Received("r/one", "second", 1, true));
            pub.publish("r/one", "", 1, true);
            none.subscribe("r/+", 1);
            pub.publish("r/end", "end", 1, false);
            want("after clearing", none.receive(), new Received("r/end", "end", 1, false));
        }
    }

    static void will() throws Exception {
        try (Peer watch = new Peer("watch")) {
            watch.subscribe("will", 1);
            new Peer("polite", true, "clean").close();
            new Peer("lost", true, "lost").drop();
            want("will", watch.receive(), new Received("will", "lost", 1, false));
        }
    }

    static void resume() throws Exception {
        new Peer("res").close(); // clean: whatever was there is gone
        try (Peer first = new Peer("res", false, null)) {
            want("session present at first", first.sessionPresent, false);
            first.subscribe("res/#", 2);
        }
        try (Peer pub = new Peer("pub")) {
            for (String text : TEXTS) {
                pub.publish("res/1", text, 1, false);
                pub.publish("res/2", text, 2, false);
            }
        }
        try (Peer again = new Peer("res", false, null)) {
            if (!version.equals("3.1")) { // 3.1 has no such flag
                want("session present on return", again.sessionPresent, true);
            }
            int[] next = new int[3];
            for (int n = 0; n < 2 * TEXTS.size(); n++) {
                Received m = again.receive();
                want("next message", m, new Received("res/" + m.qos(), TEXTS.get(next[m.qos()]++), m.qos(), false));
            }
        }
        try (Peer last = new Peer("res")) {
            want("session present after a clean start", last.sessionPresent, false);
        }
    }

    public static void main(String[] args) {
        host = args[0];
        port = Integer.parseInt(args[1]);
        version = args[2];
        prefix = "interop/java-" + version + "-" + ProcessHandle.current().pid();
        Map<String, Step> steps = new LinkedHashMap<>();
        steps.put("connect", Steps::connect);
        steps.put("qos0", () -> qos(0));
        steps.put("qos1", () -> qos(1));
        steps.put("qos2", () -> qos(2));
        steps.put("wildcards", Steps::wildcards);
        steps.put("retained", Steps::retained);
        steps.put("will", Steps::will);
        steps.put("resume", Steps::resume);
        boolean failed = false;
        for (Map.Entry<String, Step> step : steps.entrySet()) {
            try {
                step.getValue().run();
                System.out.println("ok " + step.getKey());
            } catch (Exception e) { // any exception is this step's failure; the others still run
                failed = true;
                System.out.println("FAIL " + step.getKey() + " " + e.toString().replace('\n', ' '));
            }
        }
        System.exit(failed ? 1 : 0); // the library's threads would hold the end up
    }
}
