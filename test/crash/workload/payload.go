package workload

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/nightjar-mqtt/nightjar/test/crash/history"
)

// A payload names its message, and the rest of it follows from the name, so that every byte of it is checked:
// "publisher topic QoS number padding".

// appendPayload appends the payload of a message.
func appendPayload(dst []byte, s history.Stream, seq uint32) []byte {
	start := len(dst)
	dst = fmt.Appendf(dst, "%s %s %d %d ", s.Publisher, s.Topic, s.QoS, seq)
	h := fnv.New32a()
	_, _ = h.Write(dst[start:])
	x := h.Sum32() | 1
	n := x % 100
	if x%61 == 0 {
		n += 2000 + x%14000 // one of these fills many blocks of a store
	}
	for range n {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		dst = append(dst, byte(x))
	}
	return dst
}

// parsePayload reads whose payload it is. ok: every byte is as it was sent.
func parsePayload(p []byte) (s history.Stream, seq uint32, ok bool) {
	f := strings.SplitN(string(p), " ", 5)
	if len(f) != 5 {
		return s, 0, false
	}
	qos, err := strconv.ParseUint(f[2], 10, 8)
	n, err2 := strconv.ParseUint(f[3], 10, 32)
	if err != nil || err2 != nil {
		return s, 0, false
	}
	s = history.Stream{Publisher: f[0], Topic: f[1], QoS: byte(qos)}
	return s, uint32(n), bytes.Equal(p, appendPayload(nil, s, uint32(n)))
}
