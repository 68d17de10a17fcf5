package mosquittodb

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// magic begins every file.
var magic = []byte("\x00\xb5\x00mosquitto db")

const headerSize = 15 + 4 + 4

// The kinds of chunks.
const (
	kindConfig        = 1
	kindMessage       = 2
	kindClientMessage = 3
	kindRetained      = 4
	kindSubscription  = 5
	kindClient        = 6
)

var kindNames = map[uint32]string{
	kindConfig: "configuration", kindMessage: "message", kindClientMessage: "client message", kindRetained: "retained message",
	kindSubscription: "subscription", kindClient: "client",
}

// maxPayload is the largest payload MQTT has, in bytes (MQTT 5 §2.1.4).
const maxPayload = 268_435_455

// Error says what is wrong with a file, and where.
type Error struct {
	Offset int64  // of the chunk, or of the header's field, in bytes
	What   string // in words
}

func (e *Error) Error() string { return fmt.Sprintf("at byte %d: %s", e.Offset, e.What) }

// The chunks of a file. What they refer to is valid until the next is read, but for the strings.
type (
	// Message is a message, which others refer to by its id.
	Message struct {
		ID             uint64
		Expires        int64 // unix seconds; 0: never
		SourceID       string
		SourceUsername string
		Topic          string
		Payload        []byte
		Properties     []byte // with their length in front; empty: none
		QoS            byte
		Retain         bool
	}
	// Client is a session.
	Client struct {
		ID       string
		Username string // not in version 5
		// Ends is when the session ends, unix seconds; 0: that had not been decided, or never.
		Ends   int64
		Expiry uint32 // session expiry interval, seconds; 0xFFFFFFFF: never
	}
	// ClientMessage is the place of a message in a client's queue, or its state in flight.
	ClientMessage struct {
		ClientID   string
		MessageID  uint64
		PacketID   uint16 // 0: none
		QoS        byte
		State      State
		Retain     bool
		Dup        bool
		Incoming   bool   // from the client
		Properties []byte // with their length in front; empty: none. Subscription identifiers alone.
	}
	// Retained names a message as its topic's retained one.
	Retained struct{ MessageID uint64 }
	// Subscription is one subscription of a client.
	Subscription struct {
		ClientID   string
		Filter     string
		QoS        byte
		Options    byte // of MQTT 5, without the QoS
		Identifier uint32
	}
)

// State is where the delivery of a message stands.
type State byte

// The states that matter; the others are between two of them.
const (
	StatePublishQoS1  State = 2
	StateWaitPuback   State = 3
	StatePublishQoS2  State = 4
	StateWaitPubrec   State = 5
	StateResendPubrel State = 6 // PUBREC has come
	StateWaitPubrel   State = 7 // PUBREC has been sent
	StateWaitPubcomp  State = 9 // PUBREL has been sent
	StateQueued       State = 11
)

// Chunk is one of them; the others are nil. All nil: of a kind that is not known, which Mosquitto skips too.
type Chunk struct {
	Offset        int64
	Message       *Message
	Client        *Client
	ClientMessage *ClientMessage
	Retained      *Retained
	Subscription  *Subscription
}

// Reader reads a file chunk by chunk. It holds one chunk in memory at a time.
type Reader struct {
	Version  int  // 5 or 6
	Shutdown bool // Mosquitto wrote it when it ended

	r      *bufio.Reader
	size   int64 // of the file
	at     int64 // how much has been read
	order  binary.ByteOrder
	client int // size of a client's structure
	buf    []byte
	chunk  struct {
		message       Message
		client        Client
		clientMessage ClientMessage
		retained      Retained
		subscription  Subscription
	}
}

// NewReader reads the header of a file of that many bytes. Its errors, and those of Next, are an *Error or r's.
func NewReader(r io.Reader, size int64) (*Reader, error) {
	f := &Reader{r: bufio.NewReaderSize(r, 64<<10), size: size, order: binary.LittleEndian}
	head, err := f.read(int(min(size, headerSize)))
	if err != nil {
		return nil, err
	}
	switch {
	case size == 0:
		return nil, &Error{0, "the file is empty: Mosquitto has not saved anything to it"}
	case bytes.HasPrefix(head, []byte("SQLite format 3\x00")):
		return nil, &Error{0, "this is an SQLite database, as Mosquitto's plugin persist-sqlite writes; only mosquitto.db can be read"}
	case len(head) < headerSize || !bytes.Equal(head[:len(magic)], magic):
		return nil, &Error{0, "this is not a mosquitto.db: it does not begin as one does"}
	}
	version := binary.BigEndian.Uint32(head[19:])
	switch {
	case version < 5:
		return nil, &Error{19, fmt.Sprintf("its format is version %d, which Mosquitto 1.5 and earlier wrote; 5 and 6 can be read. "+
			"Start Mosquitto 1.6 or later with it and stop it again: it saves the file as a later version", version)}
	case version > 6:
		return nil, &Error{19, fmt.Sprintf("its format is version %d, which is newer than 6, the latest that can be read; is there a newer Nightjar?", version)}
	}
	f.Version = int(version)
	return f, f.readConfig()
}

// readConfig reads the first chunk, which tells how the others lie.
func (f *Reader) readConfig() error {
	at := f.at
	kind, body, err := f.next()
	switch {
	case errors.Is(err, io.EOF):
		return &Error{at, "the file ends behind its header"}
	case err != nil:
		return err
	case kind != kindConfig:
		return &Error{at, fmt.Sprintf("the first chunk is of kind %d, not the configuration", kind)}
	}
	f.client = 24
	switch {
	case len(body) == 12:
		f.client = 20 // numbers of 64 bits are aligned to 32
	case len(body) != 16:
		return f.wrong(at, kind, "its length is %d, 16 or 12 was expected", len(body))
	}
	if f.Version == 5 {
		f.client = 16
	}
	if body[9] != 8 {
		return f.wrong(at, kind, "message ids have %d bytes there, 8 is what can be read", body[9])
	}
	// Ids are counted from 1 and so far below 2^32 that the zeros tell which way round they lie.
	if id := body[:8]; binary.LittleEndian.Uint32(id) == 0 && binary.LittleEndian.Uint32(id[4:]) != 0 {
		f.order = binary.BigEndian
	}
	f.Shutdown = body[8] != 0
	return nil
}

// Next reads the next chunk. io.EOF: there is none.
func (f *Reader) Next() (c Chunk, err error) {
	c.Offset = f.at
	kind, body, err := f.next()
	if err != nil {
		return c, err
	}
	b := &fields{f: f, at: c.Offset, kind: kind, rest: body}
	switch kind {
	case kindMessage:
		c.Message, err = b.message()
	case kindClient:
		c.Client, err = b.client()
	case kindClientMessage:
		c.ClientMessage, err = b.clientMessage()
	case kindRetained:
		c.Retained = &f.chunk.retained
		id, ok := b.fixed(8)
		if !ok {
			break
		}
		c.Retained.MessageID = f.order.Uint64(id)
	case kindSubscription:
		c.Subscription, err = b.subscription()
	case kindConfig:
		return c, f.wrong(c.Offset, kind, "a second one")
	default:
		return c, nil
	}
	if err == nil {
		err = b.end()
	}
	return c, err
}

// next reads a chunk as it is.
func (f *Reader) next() (kind uint32, body []byte, err error) {
	at := f.at
	if at == f.size {
		return 0, nil, io.EOF
	}
	if f.size-at < 8 {
		return 0, nil, &Error{at, fmt.Sprintf("the file ends within the head of a chunk: %d bytes are left of 8", f.size-at)}
	}
	head, err := f.read(8)
	if err != nil {
		return 0, nil, err
	}
	kind = binary.BigEndian.Uint32(head)
	length := int64(binary.BigEndian.Uint32(head[4:]))
	if left := f.size - f.at; length > left {
		return 0, nil, f.wrong(at, kind, "it is said to have %d bytes, but the file ends after %d", length, left)
	}
	if kindNames[kind] == "" {
		return kind, nil, f.skip(length)
	}
	if most := int64(maxPayload + 5*math.MaxUint16 + 1<<20); length > most {
		return 0, nil, f.wrong(at, kind, "it is said to have %d bytes, more than any can have", length)
	}
	body, err = f.read(int(length))
	return kind, body, err
}

func (f *Reader) read(n int) ([]byte, error) {
	if n > cap(f.buf) {
		f.buf = make([]byte, n+n/4)
	} else if cap(f.buf) > 1<<20 && n < cap(f.buf)/16 {
		f.buf = make([]byte, max(n, 64<<10)) // one large message is no reason to stay large
	}
	b := f.buf[:n]
	k, err := io.ReadFull(f.r, b)
	f.at += int64(k)
	return b, f.shrunk(err)
}

func (f *Reader) skip(n int64) error {
	k, err := io.CopyN(io.Discard, f.r, n)
	f.at += k
	return f.shrunk(err)
}

// shrunk words the end of a file before its size.
func (f *Reader) shrunk(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &Error{f.at, fmt.Sprintf("the file ends here, though it had %d bytes: is Mosquitto writing it?", f.size)}
	}
	return err
}

func (f *Reader) wrong(at int64, kind uint32, format string, args ...any) error {
	name := kindNames[kind]
	if name == "" {
		name = fmt.Sprintf("kind %d", kind)
	}
	return &Error{at, "chunk (" + name + "): " + fmt.Sprintf(format, args...)}
}
