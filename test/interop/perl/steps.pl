# Interop steps over a plain socket with hand-made packets. Called with HOST PORT VERSION; see ../README.md.
use strict;
use warnings;
use utf8;
use Encode qw(encode);
use IO::Socket::INET;
use Socket qw(IPPROTO_TCP TCP_NODELAY);

my ($host, $port, $version) = @ARGV;
my $v5     = $version eq '5';
my $prefix = "interop/perl-$version-$$/";
my @texts  = map { encode('UTF-8', $_) } '1', '2', '3 grün ☕';
my $wait   = 10;

local $SIG{ALRM} = sub { die "nothing came within $wait s\n" };
local $SIG{PIPE} = 'IGNORE';

sub want {
    my ($what, $got, $expected) = @_;
    die sprintf("%s: got '%s', want '%s'\n", $what, map { s/([^ -~])/sprintf '\\x%02x', ord $1/ger } $got, $expected)
        if $got ne $expected;
}

sub str { pack 'n/a*', $_[0] }
sub len { my ($n) = @_; my $out = ''; do { my $low = $n & 127; $n >>= 7; $out .= chr($low | ($n ? 128 : 0)) } while $n; $out }

# A property section exists in MQTT 5 only.
sub props { my $bytes = shift // ''; $v5 ? len(length $bytes) . $bytes : '' }

sub send_packet {
    my ($peer, $header, $body) = @_;
    my $bytes = chr($header) . len(length $body) . $body;
    (syswrite($peer->{socket}, $bytes) // -1) == length $bytes or die "write: $!\n";
}

# Connects; the option clean is 1 unless told otherwise, a will goes to PREFIX/will with QoS 1.
sub peer {
    my ($name, %o) = (shift, clean => 1, @_);
    my $socket = IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port, Proto => 'tcp', Timeout => $wait)
        or die "connect to $host:$port: $@\n";
    setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
    my $peer     = { socket => $socket, id => 0, inbox => [] };
    my $protocol = $version eq '3.1' ? str('MQIsdp') . "\x03" : str('MQTT') . ($v5 ? "\x05" : "\x04");
    my $flags    = ($o{clean} ? 2 : 0) | (defined $o{will} ? 0b01100 : 0);
    my $body     = $protocol . pack('Cn', $flags, 60) . props("\x11" . pack 'N', $o{clean} ? 0 : 300);
    $body .= str(substr "pl$version-$$-$name", 0, 23);
    $body .= props() . str("${prefix}will") . str($o{will}) if defined $o{will};
    send_packet($peer, 0x10, $body);
    my $ack = await($peer, 2);
    want('CONNACK code', ord substr($ack, 1, 1), 0);
    $peer->{present} = ord $ack;
    return $peer;
}

sub read_bytes {
    my ($peer, $n) = @_;
    my $bytes = '';
    alarm $wait;
    while (length $bytes < $n) {
        my $got = sysread $peer->{socket}, $bytes, $n - length $bytes, length $bytes;
        die "read: $!\n" unless defined $got;
        die "the broker closed the connection\n" unless $got;
    }
    alarm 0;
    return $bytes;
}

# Reads one packet: its first byte and its body.
sub read_packet {
    my ($peer) = @_;
    my $header = ord read_bytes($peer, 1);
    my ($size, $shift, $byte) = (0, 0);
    do {
        $byte = ord read_bytes($peer, 1);
        $size |= ($byte & 127) << $shift;
        $shift += 7;
    } while $byte > 127;
    return $header, read_bytes($peer, $size);
}

# Takes packets until one of the type comes, and returns its body; messages before it go to the inbox. Type 3 stops at
# the first message.
sub await {
    my ($peer, $type) = @_;
    while (1) {
        my ($header, $body) = read_packet($peer);
        if    ($header >> 4 == 3)     { arrive($peer, $header, $body); return if $type == 3 }
        elsif ($header == 0x62)       { send_packet($peer, 0x70, substr $body, 0, 2) }         # PUBREL, PUBCOMP
        elsif ($header >> 4 == $type) { return $body }
        else                          { die sprintf "unexpected packet 0x%02x, awaiting type %d\n", $header, $type }
    }
}

sub arrive {
    my ($peer, $header, $body) = @_;
    my $qos = ($header >> 1) & 3;
    my ($topic, $rest) = unpack 'n/a* a*', $body;
    my $id = $qos ? substr $rest, 0, 2, '' : '';
    $peer->{props} = $v5 ? substr $rest, 0, 1 + ord $rest, '' : '';    # the sections here are shorter than 128 bytes
    $topic =~ s/^\Q$prefix//;
    push @{ $peer->{inbox} }, join '|', $topic, $rest, $qos, $header & 1;
    send_packet($peer, $qos == 1 ? 0x40 : 0x50, $id) if $qos;
}

# A message as "topic|payload|QoS|retain".
sub receive {
    my ($peer) = @_;
    await($peer, 3) unless @{ $peer->{inbox} };
    return shift @{ $peer->{inbox} };
}

sub subscribe {
    my ($peer, $topic, $qos, $properties) = @_;
    my $id = pack 'n', ++$peer->{id};
    send_packet($peer, 0x82, $id . props($properties) . str($prefix . $topic) . chr $qos);
    want("SUBACK of $topic", await($peer, 9), $id . props() . chr $qos);
}

sub publish {
    my ($peer, $topic, $text, $qos, $retain, $properties) = @_;
    my $id = $qos ? pack('n', ++$peer->{id}) : '';
    send_packet($peer, 0x30 | $qos << 1 | ($retain // 0), str($prefix . $topic) . $id . props($properties) . $text);
    for my $answer ($qos == 1 ? 4 : $qos == 2 ? (5, 7) : ()) {    # PUBACK, or PUBREC and PUBCOMP
        my $ack = await($peer, $answer);
        want("packet id in answer $answer", substr($ack, 0, 2), $id);
        die "answer $answer has an error code\n" if length $ack > 2 && ord(substr $ack, 2, 1) >= 0x80;
        send_packet($peer, 0x62, $id) if $answer == 5;
    }
}

# Sends DISCONNECT and waits until the broker has seen it and closed.
sub leave {
    for my $peer (@_) {
        send_packet($peer, 0xE0, '');
        alarm $wait;
        1 while sysread $peer->{socket}, my $ignored, 4096;
        alarm 0;
        close $peer->{socket};
    }
}

sub qos {
    my ($level) = @_;
    my ($sub, $pub) = (peer('sub'), peer('pub'));
    subscribe($sub, "qos$level", $level);
    publish($pub, "qos$level", $_, $level) for @texts;
    want('message', receive($sub), "qos$level|$_|$level|0") for @texts;
    leave($sub, $pub);
}

my @steps = (
    connect => sub {
        my $peer = peer('connect');
        want('session present', $peer->{present}, 0);
        send_packet($peer, 0xC0, '');    # PINGREQ
        want('PINGRESP', await($peer, 13), '');
        leave($peer);
    },
    (map { my $level = $_; ("qos$level" => sub { qos($level) }) } 0 .. 2),
    wildcards => sub {
        my ($sub, $pub) = (peer('sub'), peer('pub'));
        subscribe($sub, 'w/+/temp', 1);
        subscribe($sub, 'w/deep/#', 1);
        publish($pub, "w/$_", 'x', 1) for qw(a/temp a/b/temp temp deep deep/x/y deeper end/temp);
        my @got = sort map { (split /\|/, receive($sub))[0] } 1 .. 4;
        want('topics', "@got", 'w/a/temp w/deep w/deep/x/y w/end/temp');
        leave($sub, $pub);
    },
    retained => sub {
        my ($pub, $early, $late, $none) = map { peer($_) } qw(pub early late none);
        publish($pub, 'r/one', 'first', 1, 1);
        subscribe($early, 'r/+', 1);
        want('retained on subscribe', receive($early), 'r/one|first|1|1');
        publish($pub, 'r/one', 'second', 1, 1);
        want('live message', receive($early), 'r/one|second|1|0');
        subscribe($late, 'r/#', 1);
        want('replaced retained message', receive($late), 'r/one|second|1|1');
        publish($pub, 'r/one', '', 1, 1);
        subscribe($none, 'r/+', 1);
        publish($pub, 'r/end', 'end', 1);
        want('after clearing', receive($none), 'r/end|end|1|0');
        leave($pub, $early, $late, $none);
    },
    will => sub {
        my $watch = peer('watch');
        subscribe($watch, 'will', 1);
        leave(peer('polite', will => 'clean'));
        close peer('lost', will => 'lost')->{socket};    # without DISCONNECT
        want('will', receive($watch), 'will|lost|1|0');
        leave($watch);
    },
    resume => sub {
        leave(peer('res'));                              # clean: whatever was there is gone
        my $first = peer('res', clean => 0);
        want('session present at first', $first->{present}, 0);
        subscribe($first, 'res/#', 2);
        leave($first);
        my $pub = peer('pub');
        for my $text (@texts) { publish($pub, "res/$_", $text, $_) for 1, 2 }
        leave($pub);
        my $again = peer('res', clean => 0);
        want('session present on return', $again->{present}, 1) if $version ne '3.1';    # which has no such flag
        my @got = map { receive($again) } 1 .. 6;
        for my $level (1, 2) {
            want("QoS $level messages", join(' ', grep {/\|$level\|\d$/} @got), join ' ', map {"res/$level|$_|$level|0"} @texts);
        }
        leave($again);
        my $last = peer('res');
        want('session present after a clean start', $last->{present}, 0);
        leave($last);
    },
);
push @steps, properties => sub {
    my ($sub, $pub) = (peer('sub'), peer('pub'));
    subscribe($sub, 'prop', 1, "\x0B\x07");              # subscription identifier 7
    my $user = join '', map { "\x26" . str($_->[0]) . str($_->[1]) } ['k', '1'], ['k', '2'], ['a', 'z'];
    my @sent = ("\x01\x01", "\x03" . str('text/plain'), "\x08" . str("${prefix}r"), "\x09" . str("\x00\x01\xFF"));
    publish($pub, 'prop', 'x', 1, 0, join '', @sent, $user);
    want('message', receive($sub), 'prop|x|1|0');
    my $left = substr $sub->{props}, 1;
    for my $property (@sent, "\x0B\x07") { $left =~ s/\Q$property// or die "a property is missing\n" }
    want('what is left: the user properties in order', $left, $user);
    leave($sub, $pub);
} if $v5;

$| = 1;
my $failed = 0;
while (my ($step, $run) = splice @steps, 0, 2) {
    if (eval { $run->(); 1 }) { print "ok $step\n"; next }
    alarm 0;
    $failed = 1;
    print "FAIL $step ", $@ =~ s/\s+/ /gr, "\n";         # the other steps still run
}
exit $failed;
