// Interop steps with Eclipse Paho C++ (Debian's libpaho-mqttpp-dev). Called with HOST PORT VERSION; see ../README.md.
#include <mqtt/async_client.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr std::chrono::seconds wait_limit{10};
const std::vector<std::string> texts{"1", "2", u8"3 gr\u00fcn \u2615"};

char **arguments;
std::string uri, version, prefix;
pid_t self;

bool v5() { return version == "5"; }

template <typename T> void want(const std::string &what, const T &got, const T &expected)
{
    if (got == expected)
        return;
    std::ostringstream s;
    s << what << ": got \"" << got << "\", want \"" << expected << "\"";
    throw std::runtime_error(s.str());
}

struct message {
    std::string topic, text; // topic without PREFIX/
    int qos;
    bool retain;

    bool operator==(const message &o) const
    {
        return topic == o.topic && text == o.text && qos == o.qos && retain == o.retain;
    }
    friend std::ostream &operator<<(std::ostream &s, const message &m)
    {
        return s << m.topic << ' ' << m.text << " qos " << m.qos << " retain " << m.retain;
    }
};

// One connected client. The library takes two seconds to connect a second client while a first one is idle, so most
// steps use one that publishes to itself; the other languages cover two.
class peer {
public:
    bool session_present;

    // A will, when given, goes to PREFIX/will with QoS 1.
    explicit peer(const std::string &name, bool clean = true, const std::string &will = "")
    {
        // 23 bytes is all that MQTT 3.1 allows.
        const auto id = ("x" + version + "-" + std::to_string(self) + "-" + name).substr(0, 23);
        const int protocol = v5() ? MQTTVERSION_5 : version == "3.1" ? MQTTVERSION_3_1 : MQTTVERSION_3_1_1;
        client = std::make_unique<mqtt::async_client>(uri, id, mqtt::create_options(protocol));
        client->start_consuming();
        mqtt::connect_options opts;
        opts.set_mqtt_version(protocol);
        opts.set_connect_timeout(wait_limit);
        if (v5()) {
            opts.set_clean_start(clean);
            mqtt::properties props;
            props.add({mqtt::property::SESSION_EXPIRY_INTERVAL, clean ? 0 : 300});
            opts.set_properties(props);
        } else {
            opts.set_clean_session(clean);
        }
        if (!will.empty())
            opts.set_will(mqtt::will_options(prefix + "/will", will, 1, false));
        auto token = client->connect(opts);
        done(token, "connect");
        session_present = token->get_connect_response().is_session_present();
    }

    // Ends with DISCONNECT, also when a step fails; what goes wrong then is no news.
    ~peer()
    {
        try {
            client->disconnect()->wait_for(wait_limit);
        } catch (const mqtt::exception &) {
        }
    }

    void subscribe(const std::string &topic, int qos, const mqtt::properties &props = {})
    {
        auto token = client->subscribe(prefix + "/" + topic, qos, mqtt::subscribe_options(), props);
        done(token, "subscribe");
        want("SUBACK code", static_cast<int>(token->get_subscribe_response().get_reason_codes().at(0)), qos);
    }

    void publish(const std::string &topic, const std::string &text, int qos = 1, bool retain = false,
                 const mqtt::properties &props = {})
    {
        auto m = mqtt::make_message(prefix + "/" + topic, text, qos, retain);
        if (v5())
            m->set_properties(props);
        done(client->publish(m), "publish");
    }

    mqtt::const_message_ptr receive_raw()
    {
        mqtt::const_message_ptr m;
        if (!client->try_consume_message_for(&m, wait_limit) || !m)
            throw std::runtime_error("no message within " + std::to_string(wait_limit.count()) + " s");
        return m;
    }

    message receive()
    {
        auto m = receive_raw();
        return {m->get_topic().substr(prefix.size() + 1), m->to_string(), m->get_qos(), m->is_retained()};
    }

private:
    std::unique_ptr<mqtt::async_client> client;

    static void done(const mqtt::token_ptr &token, const std::string &what)
    {
        if (!token->wait_for(wait_limit))
            throw std::runtime_error(what + " was not answered in time");
    }
};

void step_connect()
{
    peer a("connect");
    want("session present", a.session_present, false);
}

void qos(int level)
{
    const auto topic = "qos" + std::to_string(level);
    peer both("both");
    both.subscribe(topic, level);
    for (const auto &text : texts)
        both.publish(topic, text, level);
    for (const auto &text : texts)
        want("message", both.receive(), message{topic, text, level, false});
}

void step_wildcards()
{
    peer both("both");
    both.subscribe("w/+/temp", 1);
    both.subscribe("w/deep/#", 1);
    for (const char *topic : {"a/temp", "a/b/temp", "temp", "deep", "deep/x/y", "deeper", "end/temp"})
        both.publish(std::string("w/") + topic, "x");
    std::vector<std::string> got;
    for (int i = 0; i < 4; i++)
        got.push_back(both.receive().topic);
    std::sort(got.begin(), got.end());
    std::string joined;
    for (const auto &topic : got)
        joined += topic + " ";
    want("topics", joined, std::string("w/a/temp w/deep w/deep/x/y w/end/temp "));
}

void step_retained()
{
    {
        peer pub("pub");
        pub.publish("r/one", "first", 1, true);
    }
    {
        peer early("early");
        early.subscribe("r/+", 1);
        want("retained on subscribe", early.receive(), message{"r/one", "first", 1, true});
        early.publish("r/one", "second", 1, true);
        want("live message", early.receive(), message{"r/one", "second", 1, false});
    }
    {
        peer late("late");
        late.subscribe("r/#", 1);
        want("replaced retained message", late.receive(), message{"r/one", "second", 1, true});
        late.publish("r/one", "", 1, true);
    }
    peer none("none");
    none.subscribe("r/+", 1);
    none.publish("r/end", "end");
    want("after clearing", none.receive(), message{"r/end", "end", 1, false});
}

// The library can't drop a connection without DISCONNECT, but a process can: a copy of this program connects and ends.
void drop_with_will()
{
    const pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", arguments[0], arguments[1], arguments[2], arguments[3], std::to_string(getppid()).c_str(),
              static_cast<char *>(nullptr));
        _exit(99);
    }
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child)
        throw std::runtime_error("can't run the client that is to be lost");
    want("the lost client's exit status", WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
}

void step_will()
{
    peer watch("watch");
    watch.subscribe("will", 1);
    {
        peer polite("polite", true, "clean");
    }
    drop_with_will();
    want("will", watch.receive(), message{"will", "lost", 1, false});
}

void step_resume()
{
    {
        peer forget("res"); // clean: whatever was there is gone
    }
    {
        peer first("res", false);
        want("session present at first", first.session_present, false);
        first.subscribe("res/#", 2);
    }
    {
        peer pub("pub");
        for (const auto &text : texts) {
            pub.publish("res/1", text, 1);
            pub.publish("res/2", text, 2);
        }
    }
    {
        peer again("res", false);
        if (version != "3.1") // 3.1 has no such flag
            want("session present on return", again.session_present, true);
        size_t next[3] = {0, 0, 0};
        for (size_t n = 0; n < 2 * texts.size(); n++) {
            auto m = again.receive();
            if (m.qos < 1 || next[m.qos] == texts.size())
                throw std::runtime_error("unexpected message " + m.topic + " " + m.text);
            want("next message", m, message{"res/" + std::to_string(m.qos), texts[next[m.qos]++], m.qos, false});
        }
    }
    peer last("res");
    want("session present after a clean start", last.session_present, false);
}

void step_properties()
{
    using mqtt::property;
    const std::string correlation("\0\1\xff", 3), reply = prefix + "/reply";
    peer both("both");
    mqtt::properties subscription, sent;
    subscription.add({property::SUBSCRIPTION_IDENTIFIER, 7});
    both.subscribe("prop", 1, subscription);
    sent.add({property::PAYLOAD_FORMAT_INDICATOR, 1});
    sent.add({property::MESSAGE_EXPIRY_INTERVAL, 100});
    sent.add({property::CONTENT_TYPE, "text/plain"});
    sent.add({property::RESPONSE_TOPIC, reply});
    sent.add({property::CORRELATION_DATA, correlation});
    const std::vector<std::pair<std::string, std::string>> user{{"k", "1"}, {"k", "2"}, {"a", "z"}};
    for (const auto &u : user)
        sent.add({property::USER_PROPERTY, u.first, u.second});
    both.publish("prop", "x", 1, false, sent);

    const auto m = both.receive_raw();
    const auto &got = m->get_properties();
    want("content type", mqtt::get<std::string>(got, property::CONTENT_TYPE), std::string("text/plain"));
    want("response topic", mqtt::get<std::string>(got, property::RESPONSE_TOPIC), reply);
    want("correlation data", mqtt::get<std::string>(got, property::CORRELATION_DATA), correlation);
    want("payload format", int(mqtt::get<uint8_t>(got, property::PAYLOAD_FORMAT_INDICATOR)), 1);
    want("subscription identifier", int(mqtt::get<uint32_t>(got, property::SUBSCRIPTION_IDENTIFIER)), 7);
    const auto left = mqtt::get<uint32_t>(got, property::MESSAGE_EXPIRY_INTERVAL);
    want("message expiry left is 90 to 100", left >= 90 && left <= 100, true);
    want("number of user properties", got.count(property::USER_PROPERTY), user.size());
    for (size_t i = 0; i < user.size(); i++) {
        const auto u = mqtt::get<mqtt::string_pair>(got, property::USER_PROPERTY, i);
        want("user property", std::get<0>(u) + "=" + std::get<1>(u), user[i].first + "=" + user[i].second);
    }
}

} // namespace

int main(int argc, char **argv)
{
    if (argc < 4) {
        std::cerr << "usage: " << argv[0] << " HOST PORT VERSION\n";
        return 2;
    }
    arguments = argv;
    uri = std::string("tcp://") + argv[1] + ":" + argv[2];
    version = argv[3];
    self = argc > 4 ? std::stoi(argv[4]) : getpid(); // the parent's, in the copy that is to be lost
    prefix = "interop/cpp-" + version + "-" + std::to_string(self);
    if (argc > 4) {
        try {
            peer lost("lost", true, "lost");
            _exit(0);
        } catch (const std::exception &e) {
            std::cerr << "the client that is to be lost: " << e.what() << '\n';
            return 1;
        }
    }

    std::vector<std::pair<std::string, std::function<void()>>> steps{
        {"connect", step_connect},     {"qos0", [] { qos(0); }},    {"qos1", [] { qos(1); }}, {"qos2", [] { qos(2); }},
        {"wildcards", step_wildcards}, {"retained", step_retained}, {"will", step_will},      {"resume", step_resume}};
    if (v5())
        steps.emplace_back("properties", step_properties);
    bool failed = false;
    for (const auto &step : steps) {
        try {
            step.second();
            std::cout << "ok " << step.first << std::endl;
        } catch (const std::exception &e) {
            failed = true;
            std::cout << "FAIL " << step.first << ' ' << e.what() << std::endl;
        }
    }
    return failed ? 1 : 0;
}
