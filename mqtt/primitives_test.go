package mqtt

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestVarint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Uint32Range(0, MaxRemainingLength).Draw(t, "v")
		if rapid.Bool().Draw(t, "edge") {
			v = rapid.SampledFrom([]uint32{0, 1, 127, 128, 16383, 16384, 2_097_151, 2_097_152, MaxRemainingLength}).Draw(t, "e")
		}
		b := AppendVarint(nil, v)
		if len(b) != VarintLen(v) {
			t.Fatalf("%d takes %d bytes, VarintLen says %d", v, len(b), VarintLen(v))
		}
		for n := range b {
			if _, k := readVarint(b[:n]); k != 0 {
				t.Fatalf("%d of % x: %d", n, b, k)
			}
		}
		if got, k := readVarint(append(b, 0xFF)); got != v || k != len(b) {
			t.Fatalf("% x reads as %d in %d bytes", b, got, k)
		}
		// The same number in more bytes is not minimal [MQTT-1.5.5-1].
		if len(b) < 4 {
			b[len(b)-1] |= 0x80
			if _, k := readVarint(append(b, 0)); k != -1 {
				t.Fatalf("% x 00 is taken", b)
			}
		}
	})
}

func TestAppendString(t *testing.T) {
	if got := AppendString([]byte("x"), []byte("ab")); string(got) != "x\x00\x02ab" {
		t.Errorf("%q", got)
	}
	// What is too long is cut between characters.
	for _, s := range []string{strings.Repeat("a", 65536), strings.Repeat("é", 40000), "a" + strings.Repeat("é", 40000),
		strings.Repeat("温", 30000), strings.Repeat("😀", 20000), "ab" + strings.Repeat("😀", 20000)} {
		got := AppendString(nil, []byte(s))
		text, rest, ok := cutString(got)
		if !ok || len(rest) != 0 || !utf8.Valid(text) || !strings.HasPrefix(s, string(text)) || len(text) < 65535-3 {
			t.Errorf("%.8q...: %d bytes, valid %v", s, len(text), utf8.Valid(text))
		}
	}
	if got := AppendString(nil, bytes.Repeat([]byte{0x80}, 70000)); len(got) < 65535-4 || len(got) > 65537 {
		t.Errorf("binary data becomes %d bytes", len(got))
	}
}

func TestAppendIntegers(t *testing.T) {
	if got := AppendUint32(AppendUint16(nil, 0x0102), 0x03040506); string(got) != "\x01\x02\x03\x04\x05\x06" {
		t.Errorf("% x", got)
	}
}

// Every byte at every place of strings of every length, and random strings: the
// fast path sees what the slow one does.
func TestValidText(t *testing.T) {
	slow := func(b []byte) bool { return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 }
	for length := 1; length <= 20; length++ {
		for at := range length {
			b := []byte(strings.Repeat("a", length))
			for c := range 256 {
				b[at] = byte(c)
				if validText(b) != slow(b) {
					t.Fatalf("%q", b)
				}
			}
		}
	}
	piece := rapid.SampledFrom([]string{"a", "seven77", "eight888", "é", "温", "😀", "\x00", "\x01", "\x7f", "\xed\xa0\x80", "\xc3", "\uffff"})
	rapid.Check(t, func(t *rapid.T) {
		b := []byte(strings.Join(rapid.SliceOf(piece).Draw(t, "pieces"), ""))
		if validText(b) != slow(b) {
			t.Fatalf("%q", b)
		}
	})
}
