package logging

import (
	"bytes"
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/strftime"
)

// eventKey is the attribute that tells the kind of a line.
const eventKey = "event"

// handler is the slog.Handler: it selects, limits and formats.
type handler struct {
	c      *Control
	attrs  []slog.Attr
	prefix string // of the group that is open, with a dot
}

// Enabled tells whether lines of a level are written.
func (h *handler) Enabled(_ context.Context, l slog.Level) bool {
	return h.c.state.Load().types&typeOf(l) != 0
}

// WithAttrs adds attributes to all lines.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *h
	n.attrs = append([]slog.Attr(nil), h.attrs...)
	for _, a := range attrs {
		n.attrs = flatten(n.attrs, h.prefix, a)
	}
	return &n
}

// WithGroup puts a name before the attributes that follow.
func (h *handler) WithGroup(name string) slog.Handler {
	n := *h
	n.prefix += name + "."
	return &n
}

// Handle writes a line.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	st := h.c.state.Load()
	l := line{time: r.Time, level: r.Level, msg: r.Message, attrs: append([]slog.Attr(nil), h.attrs...)}
	r.Attrs(func(a slog.Attr) bool {
		l.attrs = flatten(l.attrs, h.prefix, a)
		return true
	})
	event := l.get(eventKey)
	if !st.connectionMessages && (event == broker.EventConnect || event == broker.EventDisconnect) {
		return nil
	}
	if t := typeOf(r.Level); t&TypesDefault != 0 && r.Level < broker.LevelFatal {
		if !h.c.limiter.allow(event, l.get("cause"), r.Message, r.Level, r.Time) {
			return nil
		}
	}
	h.c.write(st, &l)
	if r.Level >= broker.LevelFatal {
		_ = h.c.queue.flush(fatalTime)
	}
	return nil
}

// fatalTime is how long the last words of a process may take.
const fatalTime = 2 * time.Second

// limited writes how many lines of a kind were left out.
func (c *Control) limited(event, cause, msg string, level slog.Level, n int64) {
	st := c.state.Load()
	if st == nil || st.types&typeOf(level) == 0 {
		return
	}
	if event != "" {
		msg = strings.ReplaceAll(event, "_", " ") // a message may speak of one client
	}
	if cause != "" {
		msg += " (" + cause + ")"
	}
	l := line{time: time.Now(), level: level, msg: msg + ": … and " + grouped(n) + " more in " + strconv.Itoa(int(limitWindow/time.Second)) + " s"}
	if st.format == JSON {
		l.attrs = append(l.attrs, slog.String(eventKey, event), slog.String("cause", cause), slog.Int64("suppressed", n))
	}
	c.write(st, &l)
}

// grouped prints 1204 as 1,204.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// line is one entry of the log.
type line struct {
	time  time.Time
	level slog.Level
	msg   string
	attrs []slog.Attr // flat, clean
}

// get gives an attribute as text; "": there is none.
func (l *line) get(key string) string {
	for i := range l.attrs {
		if l.attrs[i].Key == key {
			return l.attrs[i].Value.String()
		}
	}
	return ""
}

func (c *Control) write(st *state, l *line) {
	buf := buffers.Get().(*bytes.Buffer)
	buf.Reset()
	appendLine(buf, st, l)
	c.queue.put(buf, typeOf(l.level))
}

// render makes a line of the log about itself.
func (c *Control) render(level slog.Level, msg string) []byte {
	var buf bytes.Buffer
	appendLine(&buf, c.state.Load(), &line{time: time.Now(), level: level, msg: msg})
	return buf.Bytes()
}

func appendLine(buf *bytes.Buffer, st *state, l *line) {
	if st.format == JSON {
		appendJSON(buf, st, l)
	} else {
		appendText(buf, st, l)
	}
}

// buffers are of lines that wait to be written.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func release(b *bytes.Buffer) {
	if b.Cap() <= 4096 {
		buffers.Put(b)
	}
}

func appendJSON(buf *bytes.Buffer, st *state, l *line) {
	if !st.timestamp {
		l.time = time.Time{} // slog leaves it out
	}
	r := slog.NewRecord(l.time, l.level, l.msg, 0)
	r.AddAttrs(l.attrs...)
	_ = jsonHandler(buf).Handle(context.Background(), r)
}

func jsonHandler(buf *bytes.Buffer) slog.Handler {
	return slog.NewJSONHandler(buf, &slog.HandlerOptions{
		Level: slog.Level(-100),
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.LevelKey {
				if l, ok := a.Value.Any().(slog.Level); ok {
					a.Value = slog.StringValue(typeOf(l).single())
				}
			}
			return a
		},
	})
}

func appendText(buf *bytes.Buffer, st *state, l *line) {
	if st.timestamp {
		if st.timestampFormat == "" {
			buf.WriteString(strconv.FormatInt(l.time.Unix(), 10))
		} else {
			buf.WriteString(strftime.Format(st.timestampFormat, l.time))
		}
		buf.WriteString(": ")
	}
	if !sentence(buf, l) {
		plain(buf, l)
	}
	buf.WriteByte('\n')
}

// Bounds of one value, in bytes: a client may choose an id of 64 KiB, and a stack trace is longer than most.
const (
	maxValue = 512
	maxStack = 16 << 10
)

// secret are parts of names of attributes that are never written, should a caller ever pass them.
var secret = []string{"password", "passwd", "secret", "token", "payload", "credential"}

// flatten adds an attribute to a list: groups become prefixes, and what may be long or must not be seen is taken out.
func flatten(to []slog.Attr, prefix string, a slog.Attr) []slog.Attr {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, m := range v.Group() {
			to = flatten(to, prefix, m)
		}
		return to
	}
	if a.Key == "" {
		return to
	}
	key := prefix + a.Key
	lower := strings.ToLower(key)
	for _, s := range secret {
		if strings.Contains(lower, s) {
			return append(to, slog.String(key, "[redacted]"))
		}
	}
	limit := maxValue
	if a.Key == "stack" {
		limit = maxStack
	}
	switch v.Kind() {
	case slog.KindString, slog.KindAny:
		v = slog.StringValue(clip(v.String(), limit))
	}
	return append(to, slog.Attr{Key: key, Value: v})
}

// clip shortens a text and tells its length.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	cut := s[:limit]
	for len(cut) > 0 && !utf8.RuneStart(s[len(cut)]) {
		cut = cut[:len(cut)-1]
	}
	return cut + "… (" + strconv.Itoa(len(s)) + " bytes)"
}
