# Interop steps over a plain socket with hand-made packets. Called with HOST PORT VERSION; see ../README.md.
require "socket"
require "timeout"

HOST, PORT, VERSION = ARGV
V5 = VERSION == "5"
PREFIX = "interop/ruby-#{VERSION}-#{Process.pid}/"
TEXTS = ["1", "2", "3 grün ☕"].map(&:b)
WAIT = 10

def want(what, got, expected)
  raise "#{what}: got #{got.inspect}, want #{expected.inspect}" if got != expected
end

def str(s) = [s.bytesize].pack("n") + s.b

def length(n)
  out = "".b
  loop do
    n, low = n.divmod(128)
    out << (n > 0 ? low | 128 : low)
    return out if n.zero?
  end
end

# A property section exists in MQTT 5 only.
def props(bytes = "") = V5 ? length(bytes.bytesize) + bytes.b : "".b

Message = Struct.new(:topic, :text, :qos, :retain)

# One connection; it acknowledges what it receives.
class Peer
  attr_reader :session_present, :received_props

  def initialize(name, clean: true, will: nil)
    @socket = TCPSocket.new(HOST, PORT.to_i)
    @socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
    @id, @inbox = 0, []
    protocol = VERSION == "3.1" ? str("MQIsdp") + "\x03" : str("MQTT") + (V5 ? "\x05" : "\x04")
    flags = (clean ? 2 : 0) | (will ? 0b01100 : 0) # will flag, will QoS 1
    expiry = props("\x11".b + [clean ? 0 : 300].pack("N"))
    body = protocol.b + [flags, 60].pack("Cn") + expiry + str("rb#{VERSION}-#{Process.pid}-#{name}"[0, 23])
    body += props + str("#{PREFIX}will") + str(will) if will
    send_packet(0x10, body)
    ack = await(2)
    want("CONNACK code", ack.getbyte(1), 0)
    @session_present = ack.getbyte(0) == 1
  end

  def send_packet(header, body) = @socket.write([header].pack("C") + length(body.bytesize) + body)

  # Reads one packet: its first byte and its body.
  def read_packet
    Timeout.timeout(WAIT) do
      header, size, shift = read(1).getbyte(0), 0, 0
      loop do
        byte = read(1).getbyte(0)
        size |= (byte & 127) << shift
        shift += 7
        break if byte < 128
      end
      [header, read(size)]
    end
  end

  def read(n)
    bytes = n.zero? ? "".b : @socket.read(n)
    raise "the broker closed the connection" if bytes.nil? || bytes.bytesize < n
    bytes
  end

  # Waits for a packet type and returns its body; messages that come before it go to the inbox.
  def await(type)
    loop do
      header, body = read_packet
      if header >> 4 == 3 then arrive(header, body)
      elsif header == 0x62 then send_packet(0x70, body[0, 2]) # PUBREL, PUBCOMP
      elsif header >> 4 == type then return body
      else raise "unexpected packet 0x#{header.to_s(16)}, awaiting type #{type}"
      end
    end
  end

  def arrive(header, body)
    qos = (header >> 1) & 3
    topic_end = 2 + body.unpack1("n")
    rest = topic_end + (qos > 0 ? 2 : 0)
    @received_props = "".b
    if V5
      size = body.getbyte(rest) # the sections here are shorter than 128 bytes
      raise "a property section of 128 bytes or more" if size > 127
      @received_props = body[rest + 1, size]
      rest += 1 + size
    end
    @inbox << Message.new(body[2...topic_end].delete_prefix(PREFIX.b), body[rest..], qos, header & 1)
    send_packet(qos == 1 ? 0x40 : 0x50, body[topic_end, 2]) if qos > 0
  end

  def receive
    while @inbox.empty?
      header, body = read_packet
      if header >> 4 == 3 then arrive(header, body)
      elsif header == 0x62 then send_packet(0x70, body[0, 2])
      else raise "unexpected packet 0x#{header.to_s(16)}, awaiting a message"
      end
    end
    @inbox.shift
  end

  def next_id = [@id += 1].pack("n")

  def subscribe(topic, qos, properties = "")
    id = next_id
    send_packet(0x82, id + props(properties) + str(PREFIX + topic) + [qos].pack("C"))
    want("SUBACK of #{topic}", await(9), id + props + [qos].pack("C"))
  end

  def publish(topic, text, qos = 1, retain = 0, properties = "")
    id = qos > 0 ? next_id : ""
    send_packet(0x30 | qos << 1 | retain, str(PREFIX + topic) + id + props(properties) + text.b)
    acknowledged(4, id) if qos == 1
    return if qos < 2
    acknowledged(5, id)
    send_packet(0x62, id)
    acknowledged(7, id)
  end

  # Waits for PUBACK, PUBREC or PUBCOMP; MQTT 5 may add a reason code, an error from 0x80 on.
  def acknowledged(type, id)
    ack = await(type)
    want("packet id in answer #{type}", ack[0, 2], id)
    reason = ack.getbyte(2) || 0
    raise "answer #{type} has reason code 0x#{reason.to_s(16)}" if reason >= 0x80
  end

  def close
    send_packet(0xE0, "")
    Timeout.timeout(WAIT) { @socket.read } # until the broker has seen it and closed
    @socket.close
  end

  # Closes the socket without DISCONNECT.
  def drop = @socket.close
end

def connect
  a = Peer.new("connect")
  want("session present", a.session_present, false)
  a.send_packet(0xC0, "") # PINGREQ
  want("PINGRESP", a.await(13), "")
  a.close
end

def qos(level)
  sub, pub = Peer.new("sub"), Peer.new("pub")
  sub.subscribe("qos#{level}", level)
  TEXTS.each { |text| pub.publish("qos#{level}", text, level) }
  TEXTS.each { |text| want("message", sub.receive, Message.new("qos#{level}", text, level, 0)) }
  [sub, pub].each(&:close)
end

def wildcards
  sub, pub = Peer.new("sub"), Peer.new("pub")
  sub.subscribe("w/+/temp", 1)
  sub.subscribe("w/deep/#", 1)
  %w[a/temp a/b/temp temp deep deep/x/y deeper end/temp].each { |topic| pub.publish("w/#{topic}", "x") }
  want("topics", Array.new(4) { sub.receive.topic }.sort, %w[w/a/temp w/deep w/deep/x/y w/end/temp])
  [sub, pub].each(&:close)
end

def retained
  pub, early, late, none = %w[pub early late none].map { |name| Peer.new(name) }
  pub.publish("r/one", "first", 1, 1)
  early.subscribe("r/+", 1)
  want("retained on subscribe", early.receive, Message.new("r/one", "first", 1, 1))
  pub.publish("r/one", "second", 1, 1)
  want("live message", early.receive, Message.new("r/one", "second", 1, 0))
  late.subscribe("r/#", 1)
  want("replaced retained message", late.receive, Message.new("r/one", "second", 1, 1))
  pub.publish("r/one", "", 1, 1)
  none.subscribe("r/+", 1)
  pub.publish("r/end", "end")
  want("after clearing", none.receive, Message.new("r/end", "end", 1, 0))
  [pub, early, late, none].each(&:close)
end

def will
  watch = Peer.new("watch")
  watch.subscribe("will", 1)
  Peer.new("polite", will: "clean").close
  Peer.new("lost", will: "lost").drop
  want("will", watch.receive, Message.new("will", "lost", 1, 0))
  watch.close
end

def resume
  Peer.new("res").close # clean: whatever was there is gone
  first = Peer.new("res", clean: false)
  want("session present at first", first.session_present, false)
  first.subscribe("res/#", 2)
  first.close
  pub = Peer.new("pub")
  TEXTS.each { |text| [1, 2].each { |level| pub.publish("res/#{level}", text, level) } }
  pub.close
  again = Peer.new("res", clean: false)
  want("session present on return", again.session_present, true) if VERSION != "3.1" # which has no such flag
  got = Array.new(6) { again.receive }
  [1, 2].each do |level|
    want("QoS #{level} messages", got.select { |m| m.qos == level },
         TEXTS.map { |text| Message.new("res/#{level}", text, level, 0) })
  end
  again.close
  last = Peer.new("res")
  want("session present after a clean start", last.session_present, false)
  last.close
end

def properties
  sub, pub = Peer.new("sub"), Peer.new("pub")
  sub.subscribe("prop", 1, "\x0B\x07") # subscription identifier 7
  user = [%w[k 1], %w[k 2], %w[a z]].map { |k, v| "\x26".b + str(k) + str(v) }
  sent = ["\x01\x01".b, "\x03".b + str("text/plain"), "\x08".b + str("#{PREFIX}r"), "\x09".b + str("\x00\x01\xFF")] + user
  pub.publish("prop", "x", 1, 0, sent.join)
  want("message", sub.receive, Message.new("prop", "x", 1, 0))
  left = sub.received_props.dup
  (sent - user + ["\x0B\x07".b]).each { |p| raise "property #{p.inspect} is missing in #{left.inspect}" unless left.slice!(p) }
  want("what is left: the user properties in order", left, user.join)
  [sub, pub].each(&:close)
end

steps = { "connect" => -> { connect }, "qos0" => -> { qos(0) }, "qos1" => -> { qos(1) }, "qos2" => -> { qos(2) },
          "wildcards" => -> { wildcards }, "retained" => -> { retained }, "will" => -> { will }, "resume" => -> { resume } }
steps["properties"] = -> { properties } if V5
failed = false
steps.each do |step, run|
  run.call
  puts "ok #{step}"
rescue StandardError => e # this step's failure; the others still run
  failed = true
  puts "FAIL #{step} #{e.class}: #{e.message.scrub.tr("\n", ' ')}"
end
exit(failed ? 1 : 0)
