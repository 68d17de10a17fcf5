package netloop

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// The portable engine runs on anything that is a net.Conn, such as a pipe: no buffer, no half-close.
func TestAdoptPipe(t *testing.T) {
	b := newBench(t, Options{Engine: "goroutine"})
	mine, theirs := net.Pipe()
	mine.SetDeadline(time.Now().Add(patience))
	handlers := make(chan *script, 1)
	c, err := b.Engine.Adopt(theirs, func(c Conn) Handler {
		h := b.newScript(c, echo)
		handlers <- h
		return h
	})
	if err != nil {
		t.Fatal(err)
	}
	h := await(t, handlers, "the handler")
	if h.c != c {
		t.Error("newHandler and Adopt give different connections")
	}
	mustWrite(t, mine, frame([]byte("hello")))
	mustRead(t, mine, 9)
	h.send([]byte("bye"))
	c.CloseAfterFlush(io.ErrShortBuffer, patience)
	if got := mustRead(t, mine, 3); string(got) != "bye" {
		t.Errorf("got %q", got)
	}
	if _, err := mine.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the last bytes came %v", err)
	}
	if err := await(t, h.gone, "Closed"); !errors.Is(err, io.ErrShortBuffer) {
		t.Errorf("closed with %v", err)
	}
}

func TestAdoptTCP(t *testing.T) {
	onEachEngine(t, Options{}, func(t *testing.T, b *bench) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		mine, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer mine.Close()
		mine.SetDeadline(time.Now().Add(patience))
		theirs, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c, err := b.Engine.Adopt(theirs, func(c Conn) Handler { return b.newScript(c, echo) })
		if err != nil {
			t.Fatal(err)
		}
		if c.RemoteAddr().String() != mine.LocalAddr().String() || c.LocalAddr().String() != l.Addr().String() {
			t.Errorf("addresses %v and %v", c.RemoteAddr(), c.LocalAddr())
		}
		// Commands may come before Opened.
		if _, wake := c.Out().Append([]byte("early")); wake {
			c.Flush()
		}
		if got := mustRead(t, mine, 5); string(got) != "early" {
			t.Errorf("got %q", got)
		}
		mustWrite(t, mine, frame([]byte("hello")))
		mustRead(t, mine, 9)
		c.Close(nil)
		if _, err := mine.Read(make([]byte, 1)); err == nil {
			t.Error("not closed")
		}
	})
}

func TestUnknownEngine(t *testing.T) {
	if _, err := New(Options{Engine: "steam"}); err == nil {
		t.Error("there is an engine called steam")
	} else {
		t.Log(err)
	}
}
