/* Interop steps with Eclipse Paho C (Debian's libpaho-mqtt-dev), its blocking MQTTClient.
   Called with HOST PORT VERSION [SCHEME CAFILE]; see ../README.md. */
#define _POSIX_C_SOURCE 200809L
#include <MQTTClient.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_MS = 10000, NTEXTS = 3 };
static const char *texts[NTEXTS] = {"1", "2", "3 gr\u00fcn \u2615"};

static char **arguments;
static char uri[256], prefix[128];
static const char *ca; /* NULL: the system's, or no TLS */
static const char *version;
static int mqtt_version;
static pid_t self;

/* A step that fails says why and jumps back to main. */
static jmp_buf step_failed;
static char why[1024];

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(why, sizeof why, format, ap);
    va_end(ap);
    longjmp(step_failed, 1);
}

static void want_int(const char *what, int got, int want)
{
    if (got != want)
        fail("%s: got %d, want %d", what, got, want);
}

static void want_str(const char *what, const char *got, const char *want)
{
    if (strcmp(got, want) != 0)
        fail("%s: got \"%s\", want \"%s\"", what, got, want);
}

static bool v5(void) { return mqtt_version == MQTTVERSION_5; }

typedef struct {
    MQTTClient handle;
    bool session_present;
} peer;

/* Connects; a will, when given, goes to PREFIX/will with QoS 1. */
static peer open_peer(const char *name, bool clean, const char *will)
{
    peer p = {0};
    char id[64], will_topic[160];
    /* 23 bytes is all that MQTT 3.1 allows. */
    snprintf(id, 24, "c%s-%d-%s", version, (int)self, name);
    MQTTClient_createOptions create = MQTTClient_createOptions_initializer;
    create.MQTTVersion = mqtt_version;
    want_int("create", MQTTClient_createWithOptions(&p.handle, uri, id, MQTTCLIENT_PERSISTENCE_NONE, NULL, &create),
             MQTTCLIENT_SUCCESS);

    MQTTClient_connectOptions opts = MQTTClient_connectOptions_initializer;
    MQTTClient_connectOptions opts5 = MQTTClient_connectOptions_initializer5;
    MQTTClient_willOptions last = MQTTClient_willOptions_initializer;
    if (v5()) {
        opts = opts5;
        opts.cleanstart = clean;
    } else {
        opts.cleansession = clean;
    }
    opts.MQTTVersion = mqtt_version;
    opts.connectTimeout = WAIT_MS / 1000;
    MQTTClient_SSLOptions tls = MQTTClient_SSLOptions_initializer;
    if (ca != NULL) {
        tls.trustStore = ca;
        tls.verify = 1;
        opts.ssl = &tls;
    }
    if (will != NULL) {
        snprintf(will_topic, sizeof will_topic, "%s/will", prefix);
        last.topicName = will_topic;
        last.message = will;
        last.qos = 1;
        opts.will = &last;
    }
    if (!v5()) {
        want_int("connect", MQTTClient_connect(p.handle, &opts), MQTTCLIENT_SUCCESS);
        p.session_present = opts.returned.sessionPresent;
        return p;
    }
    MQTTProperties props = MQTTProperties_initializer;
    MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, .value.integer4 = clean ? 0 : 300};
    MQTTProperties_add(&props, &expiry);
    MQTTResponse r = MQTTClient_connect5(p.handle, &opts, &props, NULL);
    MQTTProperties_free(&props);
    want_int("connect", r.reasonCode, MQTTREASONCODE_SUCCESS);
    p.session_present = opts.returned.sessionPresent;
    MQTTResponse_free(r);
    return p;
}

static void close_peer(peer *p)
{
    if (v5())
        MQTTClient_disconnect5(p->handle, WAIT_MS, MQTTREASONCODE_SUCCESS, NULL);
    else
        MQTTClient_disconnect(p->handle, WAIT_MS);
    MQTTClient_destroy(&p->handle);
}

static void subscribe(peer *p, const char *topic, int qos, MQTTProperties *props)
{
    char filter[160];
    snprintf(filter, sizeof filter, "%s/%s", prefix, topic);
    if (v5()) {
        MQTTResponse r = MQTTClient_subscribe5(p->handle, filter, qos, NULL, props);
        want_int("SUBACK", r.reasonCode, qos);
        MQTTResponse_free(r);
    } else {
        want_int("subscribe", MQTTClient_subscribe(p->handle, filter, qos), MQTTCLIENT_SUCCESS);
    }
}

static void publish(peer *p, const char *topic, const char *text, int qos, bool retain, MQTTProperties *props)
{
    char name[160];
    MQTTClient_deliveryToken token = 0;
    MQTTClient_message m = MQTTClient_message_initializer;
    snprintf(name, sizeof name, "%s/%s", prefix, topic);
    m.payload = (void *)text;
    m.payloadlen = (int)strlen(text);
    m.qos = qos;
    m.retained = retain;
    if (v5()) {
        if (props != NULL)
            m.properties = *props;
        MQTTResponse r = MQTTClient_publishMessage5(p->handle, name, &m, &token);
        want_int("publish", r.reasonCode, MQTTCLIENT_SUCCESS);
        MQTTResponse_free(r);
    } else {
        want_int("publish", MQTTClient_publishMessage(p->handle, name, &m, &token), MQTTCLIENT_SUCCESS);
    }
    if (qos > 0)
        want_int("acknowledgement", MQTTClient_waitForCompletion(p->handle, token, WAIT_MS), MQTTCLIENT_SUCCESS);
}

typedef struct {
    char topic[160], text[64]; /* topic without PREFIX/ */
    int qos;
    bool retain;
} message;

/* Receives one message; the raw form is handed to keep, which then frees it. */
static message receive_keep(peer *p, MQTTClient_message **keep)
{
    message out = {0};
    char *topic = NULL;
    int length = 0;
    MQTTClient_message *m = NULL;
    int rc = MQTTClient_receive(p->handle, &topic, &length, &m, WAIT_MS);
    if (m == NULL)
        fail("no message within %d ms (code %d)", WAIT_MS, rc);
    if (strncmp(topic, prefix, strlen(prefix)) != 0)
        fail("message on the foreign topic %s", topic);
    snprintf(out.topic, sizeof out.topic, "%s", topic + strlen(prefix) + 1);
    snprintf(out.text, sizeof out.text, "%.*s", m->payloadlen, (const char *)m->payload);
    out.qos = m->qos;
    out.retain = m->retained;
    MQTTClient_free(topic);
    if (keep != NULL)
        *keep = m;
    else
        MQTTClient_freeMessage(&m);
    return out;
}

static message receive(peer *p) { return receive_keep(p, NULL); }

static void want_message(peer *p, const char *topic, const char *text, int qos, bool retain)
{
    message m = receive(p);
    want_str("topic", m.topic, topic);
    want_str("payload", m.text, text);
    want_int("qos", m.qos, qos);
    want_int("retain", m.retain, retain);
}

static void step_connect(void)
{
    peer a = open_peer("connect", true, NULL);
    want_int("session present", a.session_present, false);
    close_peer(&a);
}

static void qos(int level)
{
    char topic[8];
    snprintf(topic, sizeof topic, "qos%d", level);
    peer sub = open_peer("sub", true, NULL), pub = open_peer("pub", true, NULL);
    subscribe(&sub, topic, level, NULL);
    for (int i = 0; i < NTEXTS; i++)
        publish(&pub, topic, texts[i], level, false, NULL);
    for (int i = 0; i < NTEXTS; i++)
        want_message(&sub, topic, texts[i], level, false);
    close_peer(&sub);
    close_peer(&pub);
}

static void step_qos0(void) { qos(0); }
static void step_qos1(void) { qos(1); }
static void step_qos2(void) { qos(2); }

static void step_wildcards(void)
{
    static const char *sent[] = {"w/a/temp", "w/a/b/temp", "w/temp", "w/deep", "w/deep/x/y", "w/deeper", "w/end/temp"};
    static const char *expected[] = {"w/a/temp", "w/deep", "w/deep/x/y", "w/end/temp"};
    bool seen[4] = {false};
    peer sub = open_peer("sub", true, NULL), pub = open_peer("pub", true, NULL);
    subscribe(&sub, "w/+/temp", 1, NULL);
    subscribe(&sub, "w/deep/#", 1, NULL);
    for (size_t i = 0; i < sizeof sent / sizeof *sent; i++)
        publish(&pub, sent[i], "x", 1, false, NULL);
    for (int n = 0; n < 4; n++) {
        message m = receive(&sub);
        int i = 0;
        while (i < 4 && strcmp(m.topic, expected[i]) != 0)
            i++;
        if (i == 4)
            fail("message on %s, which no filter matches", m.topic);
        if (seen[i])
            fail("second message on %s", m.topic);
        seen[i] = true;
    }
    close_peer(&sub);
    close_peer(&pub);
}

static void step_retained(void)
{
    peer pub = open_peer("pub", true, NULL), early = open_peer("early", true, NULL);
    peer late = open_peer("late", true, NULL), none = open_peer("none", true, NULL);
    publish(&pub, "r/one", "first", 1, true, NULL);
    subscribe(&early, "r/+", 1, NULL);
    want_message(&early, "r/one", "first", 1, true);
    publish(&pub, "r/one", "second", 1, true, NULL);
    want_message(&early, "r/one", "second", 1, false);
    subscribe(&late, "r/#", 1, NULL);
    want_message(&late, "r/one", "second", 1, true);
    publish(&pub, "r/one", "", 1, true, NULL);
    subscribe(&none, "r/+", 1, NULL);
    publish(&pub, "r/end", "end", 1, false, NULL);
    want_message(&none, "r/end", "end", 1, false);
    close_peer(&pub);
    close_peer(&early);
    close_peer(&late);
    close_peer(&none);
}

/* The library can't drop a connection without DISCONNECT, but a process can: a copy of this program connects and ends. */
static void drop_with_will(void)
{
    pid_t child = fork();
    if (child == 0) {
        char parent[16];
        snprintf(parent, sizeof parent, "%d", (int)self);
        if (ca == NULL)
            execl("/proc/self/exe", arguments[0], arguments[1], arguments[2], arguments[3], parent, (char *)NULL);
        else
            execl("/proc/self/exe", arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5],
                  parent, (char *)NULL);
        _exit(99);
    }
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child)
        fail("can't run the client that is to be lost");
    want_int("the lost client's exit status", WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
}

static void step_will(void)
{
    peer watch = open_peer("watch", true, NULL);
    subscribe(&watch, "will", 1, NULL);
    peer polite = open_peer("polite", true, "clean");
    close_peer(&polite);
    drop_with_will();
    want_message(&watch, "will", "lost", 1, false);
    close_peer(&watch);
}

static void step_resume(void)
{
    peer p = open_peer("res", true, NULL); /* clean: whatever was there is gone */
    close_peer(&p);
    p = open_peer("res", false, NULL);
    want_int("session present at first", p.session_present, false);
    subscribe(&p, "res/#", 2, NULL);
    close_peer(&p);
    peer pub = open_peer("pub", true, NULL);
    for (int i = 0; i < NTEXTS; i++) {
        publish(&pub, "res/1", texts[i], 1, false, NULL);
        publish(&pub, "res/2", texts[i], 2, false, NULL);
    }
    close_peer(&pub);
    p = open_peer("res", false, NULL);
    if (mqtt_version == MQTTVERSION_3_1_1) /* 3.1 has no such flag; this library tells it for 3.1.1 only */
        want_int("session present on return", p.session_present, true);
    for (int n = 0, next[3] = {0}; n < 2 * NTEXTS; n++) {
        message m = receive(&p);
        if (m.qos < 1 || m.qos > 2 || next[m.qos] == NTEXTS)
            fail("unexpected message %s \"%s\" with QoS %d", m.topic, m.text, m.qos);
        want_str("topic", m.topic, m.qos == 1 ? "res/1" : "res/2");
        want_str("next payload", m.text, texts[next[m.qos]++]);
    }
    close_peer(&p);
    p = open_peer("res", true, NULL);
    want_int("session present after a clean start", p.session_present, false);
    close_peer(&p);
}

static MQTTLenString len_string(const char *s) { return (MQTTLenString){(int)strlen(s), (char *)s}; }

static void add_text(MQTTProperties *props, enum MQTTPropertyCodes code, const char *name, const char *value)
{
    MQTTProperty p = {.identifier = code};
    p.value.data = len_string(name);
    p.value.value = len_string(value);
    want_int("add property", MQTTProperties_add(props, &p), 0);
}

static void want_text(MQTTProperties *props, enum MQTTPropertyCodes code, int index, const char *name, const char *value)
{
    MQTTProperty *p = MQTTProperties_getPropertyAt(props, code, index);
    if (p == NULL)
        fail("property 0x%02x number %d is missing", code, index);
    char got[64];
    snprintf(got, sizeof got, "%.*s", p->value.data.len, p->value.data.data);
    want_str("property", got, name);
    if (code == MQTTPROPERTY_CODE_USER_PROPERTY) {
        snprintf(got, sizeof got, "%.*s", p->value.value.len, p->value.value.data);
        want_str("user property", got, value);
    }
}

static void step_properties(void)
{
    char reply[160];
    snprintf(reply, sizeof reply, "%s/reply", prefix);
    peer sub = open_peer("sub", true, NULL), pub = open_peer("pub", true, NULL);
    MQTTProperties subscription = MQTTProperties_initializer, sent = MQTTProperties_initializer;
    MQTTProperty id = {.identifier = MQTTPROPERTY_CODE_SUBSCRIPTION_IDENTIFIER, .value.integer4 = 7};
    MQTTProperty format = {.identifier = MQTTPROPERTY_CODE_PAYLOAD_FORMAT_INDICATOR, .value.byte = 1};
    MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL, .value.integer4 = 100};
    MQTTProperty correlation = {.identifier = MQTTPROPERTY_CODE_CORRELATION_DATA};
    correlation.value.data = (MQTTLenString){3, "\x00\x01\xff"};
    MQTTProperties_add(&subscription, &id);
    MQTTProperties_add(&sent, &format);
    MQTTProperties_add(&sent, &expiry);
    MQTTProperties_add(&sent, &correlation);
    add_text(&sent, MQTTPROPERTY_CODE_CONTENT_TYPE, "text/plain", "");
    add_text(&sent, MQTTPROPERTY_CODE_RESPONSE_TOPIC, reply, "");
    add_text(&sent, MQTTPROPERTY_CODE_USER_PROPERTY, "k", "1");
    add_text(&sent, MQTTPROPERTY_CODE_USER_PROPERTY, "k", "2");
    add_text(&sent, MQTTPROPERTY_CODE_USER_PROPERTY, "a", "z");

    subscribe(&sub, "prop", 1, &subscription);
    publish(&pub, "prop", "x", 1, false, &sent);
    MQTTClient_message *m = NULL;
    receive_keep(&sub, &m);
    MQTTProperties *got = &m->properties;
    want_text(got, MQTTPROPERTY_CODE_CONTENT_TYPE, 0, "text/plain", "");
    want_text(got, MQTTPROPERTY_CODE_RESPONSE_TOPIC, 0, reply, "");
    want_text(got, MQTTPROPERTY_CODE_USER_PROPERTY, 0, "k", "1");
    want_text(got, MQTTPROPERTY_CODE_USER_PROPERTY, 1, "k", "2");
    want_text(got, MQTTPROPERTY_CODE_USER_PROPERTY, 2, "a", "z");
    want_int("payload format", MQTTProperties_getNumericValue(got, MQTTPROPERTY_CODE_PAYLOAD_FORMAT_INDICATOR), 1);
    want_int("subscription identifier", MQTTProperties_getNumericValue(got, MQTTPROPERTY_CODE_SUBSCRIPTION_IDENTIFIER), 7);
    int left = MQTTProperties_getNumericValue(got, MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL);
    want_int("message expiry left is 90 to 100", left >= 90 && left <= 100, true);
    MQTTProperty *c = MQTTProperties_getProperty(got, MQTTPROPERTY_CODE_CORRELATION_DATA);
    want_int("correlation data", c != NULL && c->value.data.len == 3 && memcmp(c->value.data.data, "\x00\x01\xff", 3) == 0,
             true);
    MQTTClient_freeMessage(&m);
    MQTTProperties_free(&subscription);
    MQTTProperties_free(&sent);
    close_peer(&sub);
    close_peer(&pub);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: %s HOST PORT VERSION\n", argv[0]);
        return 2;
    }
    arguments = argv;
    version = argv[3];
    mqtt_version = strcmp(version, "5") == 0     ? MQTTVERSION_5
                   : strcmp(version, "3.1") == 0 ? MQTTVERSION_3_1
                                                 : MQTTVERSION_3_1_1;
    self = argc == 5 || argc == 7 ? atoi(argv[argc - 1]) : getpid(); /* the parent's, in the copy that is to be lost */
    const char *scheme = "tcp";
    if (argc > 5) {
        scheme = strcmp(argv[4], "mqtts") == 0 ? "ssl" : argv[4];
        ca = argv[5];
    }
    snprintf(uri, sizeof uri, "%s://%s:%s", scheme, argv[1], argv[2]);
    snprintf(prefix, sizeof prefix, "interop/c-%s-%d", version, (int)self);
    if (argc == 5 || argc == 7) {
        if (setjmp(step_failed)) {
            fprintf(stderr, "the client that is to be lost: %s\n", why);
            return 1;
        }
        open_peer("lost", true, "lost");
        _exit(0);
    }

    static const struct {
        const char *name;
        void (*run)(void);
    } steps[] = {{"connect", step_connect},     {"qos0", step_qos0},         {"qos1", step_qos1},
                 {"qos2", step_qos2},           {"wildcards", step_wildcards}, {"retained", step_retained},
                 {"will", step_will},           {"resume", step_resume},     {"properties", step_properties}};
    volatile int failed = 0;
    for (volatile size_t i = 0; i < (v5() ? 9 : 8); i++) {
        if (setjmp(step_failed) == 0) {
            steps[i].run();
            printf("ok %s\n", steps[i].name);
        } else {
            printf("FAIL %s %s\n", steps[i].name, why);
            failed = 1;
        }
        fflush(stdout);
    }
    return failed;
}
