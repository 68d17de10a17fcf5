package mqtt

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// AppendVarint appends v as a variable byte integer (MQTT 5 §1.5.5). v must not
// be larger than 268,435,455.
func AppendVarint(dst []byte, v uint32) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

// VarintLen returns how many bytes AppendVarint appends.
func VarintLen(v uint32) int {
	switch {
	case v < 1<<7:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<21:
		return 3
	}
	return 4
}

// readVarint returns the number at the start of b and how many bytes it takes:
// 0 when b ends within it, -1 when it takes more than four bytes, or more than
// it needs [MQTT-1.5.5-1].
func readVarint(b []byte) (v uint32, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint32(b[0]), 1
	}
	return readLongVarint(b)
}

func readLongVarint(b []byte) (v uint32, n int) {
	for i, c := range b {
		v |= uint32(c&0x7F) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				return 0, -1
			}
			return v, i + 1
		}
		if i == 3 {
			return 0, -1
		}
	}
	return 0, 0
}

// AppendString appends the length of s in two bytes and s (MQTT 5 §1.5.4, and
// §1.5.6 for binary data). No more than 65,535 bytes fit: the rest of a longer
// s is left out, so check the length where that would change the meaning. The
// Append methods of the packets do, and return an error.
func AppendString(dst, s []byte) []byte {
	if len(s) > MaxStringLength {
		n := MaxStringLength
		for n > MaxStringLength-utf8.UTFMax && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	return append(append(dst, byte(len(s)>>8), byte(len(s))), s...)
}

// AppendUint16 appends v, the high byte first (MQTT 5 §1.5.2).
func AppendUint16(dst []byte, v uint16) []byte { return append(dst, byte(v>>8), byte(v)) }

// AppendUint32 appends v, the high byte first (MQTT 5 §1.5.3).
func AppendUint32(dst []byte, v uint32) []byte {
	return append(dst, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// cutString takes a string or binary data with its length off the start of b.
func cutString(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, b, false
	}
	end := 2 + (int(b[0])<<8 | int(b[1]))
	if end > len(b) {
		return nil, b, false
	}
	return b[2:end:end], b[end:], true
}

func uint16At(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }

// validText is the rule of every UTF-8 string: well formed, no surrogates, no
// U+0000 ([MQTT-1.5.4-1], [MQTT-1.5.4-2]). ASCII goes eight bytes at a time.
func validText(b []byte) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for len(b) >= 8 {
		x := binary.LittleEndian.Uint64(b)
		// The high bit of a byte: not ASCII, or 0 (borrows).
		if (x|(x-ones))&highs != 0 {
			break
		}
		b = b[8:]
	}
	if len(b) < 8 {
		plain := true
		for _, c := range b {
			plain = plain && c-1 < utf8.RuneSelf-1
		}
		if plain {
			return true
		}
	}
	return bytes.IndexByte(b, 0) < 0 && utf8.Valid(b)
}
