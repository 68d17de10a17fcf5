<?php
// Interop steps over a plain socket with hand-made packets. Called with HOST PORT VERSION; see ../README.md.
declare(strict_types=1);

set_error_handler(function (int $level, string $text): never {
    throw new RuntimeException($text);
});

[, $host, $port, $version] = $argv;
define('ADDRESS', "tcp://$host:$port");
define('VERSION', $version);
define('V5', $version === '5');
define('PREFIX', "interop/php-$version-" . getmypid() . '/');
const TEXTS = ['1', '2', '3 grün ☕'];
const WAIT = 10;

function want(string $what, mixed $got, mixed $expected): void
{
    if ($got !== $expected) {
        $show = fn(mixed $v): string => json_encode($v, JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_SLASHES);
        throw new RuntimeException("$what: got {$show($got)}, want {$show($expected)}");
    }
}

function str(string $s): string
{
    return pack('n', strlen($s)) . $s;
}

function length(int $n): string
{
    for ($out = '';; $n >>= 7) {
        if ($n < 128) {
            return $out . chr($n);
        }
        $out .= chr($n & 127 | 128);
    }
}

/** A property section exists in MQTT 5 only. */
function props(string $bytes = ''): string
{
    return V5 ? length(strlen($bytes)) . $bytes : '';
}

/** One connection; it acknowledges what it receives. A message is [topic without PREFIX, payload, QoS, retain]. */
final class Peer
{
    public int $present;
    public string $props = '';
    private $socket;
    private int $id = 0;
    private array $inbox = [];

    /** A will, when given, goes to PREFIX/will with QoS 1. */
    public function __construct(string $name, bool $clean = true, ?string $will = null)
    {
        $this->socket = stream_socket_client(ADDRESS, $code, $text, WAIT, STREAM_CLIENT_CONNECT,
            stream_context_create(['socket' => ['tcp_nodelay' => true]]));
        stream_set_timeout($this->socket, WAIT);
        $protocol = VERSION === '3.1' ? str('MQIsdp') . "\x03" : str('MQTT') . (V5 ? "\x05" : "\x04");
        $flags = ($clean ? 2 : 0) | ($will === null ? 0 : 0b01100);
        $body = $protocol . pack('Cn', $flags, 60) . props("\x11" . pack('N', $clean ? 0 : 300));
        $body .= str(substr('ph' . VERSION . '-' . getmypid() . "-$name", 0, 23));
        if ($will !== null) {
            $body .= props() . str(PREFIX . 'will') . str($will);
        }
        $this->send(0x10, $body);
        $ack = $this->await(2);
        want('CONNACK code', ord($ack[1]), 0);
        $this->present = ord($ack[0]);
    }

    public function send(int $header, string $body): void
    {
        $bytes = chr($header) . length(strlen($body)) . $body;
        want('bytes written', fwrite($this->socket, $bytes), strlen($bytes));
    }

    private function read(int $n): string
    {
        $bytes = $n === 0 ? '' : stream_get_contents($this->socket, $n);
        if (strlen($bytes) < $n) {
            $late = stream_get_meta_data($this->socket)['timed_out'];
            throw new RuntimeException($late ? 'nothing came within ' . WAIT . ' s' : 'the broker closed the connection');
        }
        return $bytes;
    }

    /** Takes packets until one of the type comes, and returns its body; type 3 stops at the first message. */
    public function await(int $type): string
    {
        while (true) {
            $header = ord($this->read(1));
            $size = $shift = 0;
            do {
                $byte = ord($this->read(1));
                $size |= ($byte & 127) << $shift;
                $shift += 7;
            } while ($byte > 127);
            $body = $this->read($size);
            if ($header >> 4 === 3) {
                $this->arrive($header, $body);
                if ($type === 3) {
                    return '';
                }
            } elseif ($header === 0x62) {
                $this->send(0x70, substr($body, 0, 2)); // PUBREL, PUBCOMP
            } elseif ($header >> 4 === $type) {
                return $body;
            } else {
                throw new RuntimeException(sprintf('unexpected packet 0x%02x, awaiting type %d', $header, $type));
            }
        }
    }

    private function arrive(int $header, string $body): void
    {
        $qos = $header >> 1 & 3;
        $end = 2 + unpack('n', $body)[1];
        $rest = $end + ($qos > 0 ? 2 : 0);
        if (V5) { // the sections here are shorter than 128 bytes
            $this->props = substr($body, $rest + 1, ord($body[$rest]));
            $rest += 1 + ord($body[$rest]);
        }
        want('topic prefix', substr($body, 2, strlen(PREFIX)), PREFIX);
        $topic = substr($body, 2 + strlen(PREFIX), $end - 2 - strlen(PREFIX));
        $this->inbox[] = [$topic, substr($body, $rest), $qos, $header & 1];
        if ($qos > 0) {
            $this->send($qos === 1 ? 0x40 : 0x50, substr($body, $end, 2));
        }
    }

    public function receive(): array
    {
        if ($this->inbox === []) {
            $this->await(3);
        }
        return array_shift($this->inbox);
    }

    public function subscribe(string $topic, int $qos, string $properties = ''): void
    {
        $id = pack('n', ++$this->id);
        $this->send(0x82, $id . props($properties) . str(PREFIX . $topic) . chr($qos));
        want("SUBACK of $topic", bin2hex($this->await(9)), bin2hex($id . props() . chr($qos)));
    }

    public function publish(string $topic, string $text, int $qos = 1, int $retain = 0, string $properties = ''): void
    {
        $id = $qos > 0 ? pack('n', ++$this->id) : '';
        $this->send(0x30 | $qos << 1 | $retain, str(PREFIX . $topic) . $id . props($properties) . $text);
        foreach ([[], [4], [5, 7]][$qos] as $type) { // PUBACK, or PUBREC and PUBCOMP
            $ack = $this->await($type);
            want("packet id in answer $type", bin2hex(substr($ack, 0, 2)), bin2hex($id));
            want("error code in answer $type", ord($ack[2] ?? "\0") >= 0x80, false);
            if ($type === 5) {
                $this->send(0x62, $id);
            }
        }
    }

    /** Sends DISCONNECT and waits until the broker has seen it and closed. */
    public function leave(): void
    {
        $this->send(0xE0, '');
        stream_get_contents($this->socket);
        want('connection closed by the broker', feof($this->socket), true);
        fclose($this->socket);
    }

    /** Closes the socket without DISCONNECT. */
    public function drop(): void
    {
        fclose($this->socket);
    }
}

function step_connect(): void
{
    $peer = new Peer('connect');
    want('session present', $peer->present, 0);
    $peer->send(0xC0, ''); // PINGREQ
    want('PINGRESP', $peer->await(13), '');
    $peer->leave();
}

function qos(int $level): void
{
    [$sub, $pub] = [new Peer('sub'), new Peer('pub')];
    $sub->subscribe("qos$level", $level);
    foreach (TEXTS as $text) {
        $pub->publish("qos$level", $text, $level);
    }
    foreach (TEXTS as $text) {
        want('message', $sub->receive(), ["qos$level", $text, $level, 0]);
    }
    $sub->leave();
    $pub->leave();
}

function step_wildcards(): void
{
    [$sub, $pub] = [new Peer('sub'), new Peer('pub')];
    $sub->subscribe('w/+/temp', 1);
    $sub->subscribe('w/deep/#', 1);
    foreach (['a/temp', 'a/b/temp', 'temp', 'deep', 'deep/x/y', 'deeper', 'end/temp'] as $topic) {
        $pub->publish("w/$topic", 'x');
    }
    for ($got = []; count($got) < 4;) {
        $got[] = $sub->receive()[0];
    }
    sort($got);
    want('topics', $got, ['w/a/temp', 'w/deep', 'w/deep/x/y', 'w/end/temp']);
    $sub->leave();
    $pub->leave();
}

function step_retained(): void
{
    $peers = array_map(fn(string $name): Peer => new Peer($name), ['pub', 'early', 'late', 'none']);
    [$pub, $early, $late, $none] = $peers;
    $pub->publish('r/one', 'first', 1, 1);
    $early->subscribe('r/+', 1);
    want('retained on subscribe', $early->receive(), ['r/one', 'first', 1, 1]);
    $pub->publish('r/one', 'second', 1, 1);
    want('live message', $early->receive(), ['r/one', 'second', 1, 0]);
    $late->subscribe('r/#', 1);
    want('replaced retained message', $late->receive(), ['r/one', 'second', 1, 1]);
    $pub->publish('r/one', '', 1, 1);
    $none->subscribe('r/+', 1);
    $pub->publish('r/end', 'end');
    want('after clearing', $none->receive(), ['r/end', 'end', 1, 0]);
    foreach ($peers as $peer) {
        $peer->leave();
    }
}

function step_will(): void
{
    $watch = new Peer('watch');
    $watch->subscribe('will', 1);
    (new Peer('polite', will: 'clean'))->leave();
    (new Peer('lost', will: 'lost'))->drop();
    want('will', $watch->receive(), ['will', 'lost', 1, 0]);
    $watch->leave();
}

function step_resume(): void
{
    (new Peer('res'))->leave(); // clean: whatever was there is gone
    $first = new Peer('res', clean: false);
    want('session present at first', $first->present, 0);
    $first->subscribe('res/#', 2);
    $first->leave();
    $pub = new Peer('pub');
    foreach (TEXTS as $text) {
        $pub->publish('res/1', $text, 1);
        $pub->publish('res/2', $text, 2);
    }
    $pub->leave();
    $again = new Peer('res', clean: false);
    if (VERSION !== '3.1') { // which has no such flag
        want('session present on return', $again->present, 1);
    }
    for ($got = [1 => [], 2 => []], $n = 0; $n < 6; $n++) {
        $message = $again->receive();
        $got[$message[2]][] = $message;
    }
    foreach ([1, 2] as $level) {
        want("QoS $level messages", $got[$level], array_map(fn(string $t): array => ["res/$level", $t, $level, 0], TEXTS));
    }
    $again->leave();
    $last = new Peer('res');
    want('session present after a clean start', $last->present, 0);
    $last->leave();
}

function step_properties(): void
{
    [$sub, $pub] = [new Peer('sub'), new Peer('pub')];
    $sub->subscribe('prop', 1, "\x0B\x07"); // subscription identifier 7
    $user = '';
    foreach ([['k', '1'], ['k', '2'], ['a', 'z']] as [$name, $value]) {
        $user .= "\x26" . str($name) . str($value);
    }
    $sent = ["\x01\x01", "\x03" . str('text/plain'), "\x08" . str(PREFIX . 'r'), "\x09" . str("\x00\x01\xFF")];
    $pub->publish('prop', 'x', 1, 0, implode('', $sent) . $user);
    want('message', $sub->receive(), ['prop', 'x', 1, 0]);
    $left = $sub->props;
    foreach ([...$sent, "\x0B\x07"] as $property) {
        $at = strpos($left, $property);
        want('property ' . bin2hex($property) . ' found', $at !== false, true);
        $left = substr_replace($left, '', $at, strlen($property));
    }
    want('what is left: the user properties in order', bin2hex($left), bin2hex($user));
    $sub->leave();
    $pub->leave();
}

$steps = ['connect' => 'step_connect'];
foreach ([0, 1, 2] as $level) {
    $steps["qos$level"] = fn() => qos($level);
}
$steps += ['wildcards' => 'step_wildcards', 'retained' => 'step_retained', 'will' => 'step_will', 'resume' => 'step_resume'];
if (V5) {
    $steps['properties'] = 'step_properties';
}
$failed = 0;
foreach ($steps as $step => $run) {
    try {
        $run();
        echo "ok $step\n";
    } catch (Throwable $e) { // this step's failure; the others still run
        $failed = 1;
        echo "FAIL $step ", strtr($e->getMessage(), "\n", ' '), "\n";
    }
}
exit($failed);
