package throttle

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var start = time.Unix(1_800_000_000, 0)

func at(d time.Duration) time.Time { return start.Add(d) }

func fail(th *Throttle, n int, now time.Time, addr, user string) {
	for range n {
		th.Failed(now, netip.MustParseAddr(addr), user)
	}
}

func ask(th *Throttle, now time.Time, addr, user string) time.Duration {
	return th.Ask(now, netip.MustParseAddr(addr), user).Wait
}

func TestDelaysGrow(t *testing.T) {
	th := New(Options{})
	now := start
	var got []time.Duration
	for n := range 30 {
		if w := ask(th, now, "192.0.2.1", fmt.Sprint("u", n)); w != 0 {
			t.Fatalf("failure %d: blocked for %v although the time is over", n, w)
		}
		fail(th, 1, now, "192.0.2.1", fmt.Sprint("u", n))
		w := ask(th, now, "192.0.2.1", "other")
		got = append(got, w)
		now = now.Add(w)
	}
	for n, w := range got {
		want := time.Duration(0)
		if n >= 5 {
			want = min(time.Second<<(n-5), 15*time.Minute)
		}
		if w != want {
			t.Errorf("after %d failures %v, want %v", n+1, w, want)
		}
	}
	if w := ask(th, now, "192.0.2.2", "other"); w != 0 {
		t.Errorf("the neighbour's address waits %v", w)
	}
	if w := ask(th, now.Add(61*time.Minute), "192.0.2.1", "other"); w != 0 {
		t.Errorf("it is never forgotten: %v", w)
	}
	fail(th, 5, now.Add(2*time.Hour), "192.0.2.1", "x")
	if w := ask(th, now.Add(2*time.Hour), "192.0.2.1", "other"); w != 0 {
		t.Errorf("old failures count for ever: %v", w)
	}
}

// One who has a /64 has one address.
func TestIPv6(t *testing.T) {
	th := New(Options{})
	for i := range 8 {
		fail(th, 1, start, fmt.Sprintf("2001:db8:1:2:%x::1", i), fmt.Sprint("u", i))
	}
	if ask(th, start, "2001:db8:1:2:ffff:ffff:ffff:ffff", "x") == 0 {
		t.Error("another address of the same /64 is free")
	}
	if w := ask(th, start, "2001:db8:1:3::1", "x"); w != 0 {
		t.Errorf("the next /64 waits %v", w)
	}
	fail(th, 8, start, "192.0.2.9", "v")
	if ask(th, start, "::ffff:192.0.2.9", "x") == 0 {
		t.Error("the same address in IPv6's clothes is free")
	}
}

// A user is guessed from many addresses: the name is slowed down, but not for the user, who has been seen.
func TestUserFromManyAddresses(t *testing.T) {
	th := New(Options{})
	th.Succeeded(start, netip.MustParseAddr("10.0.0.1"), "alice")
	for i := range 100 {
		fail(th, 1, start, fmt.Sprintf("192.0.2.%d", i), "alice")
	}
	if ask(th, start, "198.51.100.1", "alice") == 0 {
		t.Error("the name can be guessed from one more address")
	}
	if w := ask(th, start, "10.0.0.1", "alice"); w != 0 {
		t.Errorf("alice is locked out: %v", w)
	}
	if w := ask(th, start, "198.51.100.1", "bob"); w != 0 {
		t.Errorf("another name waits %v", w)
	}
	fail(th, 5, start, "10.0.0.1", "alice")
	if ask(th, start, "10.0.0.1", "alice") == 0 {
		t.Error("who shares alice's address can guess for ever")
	}
}

// A login does not wipe out the failures of its address, or one account would buy any number of guesses.
func TestSuccessDoesNotForgiveAddress(t *testing.T) {
	th := New(Options{})
	for i := range 20 {
		fail(th, 1, start, "192.0.2.1", fmt.Sprint("victim", i))
		th.Succeeded(start, netip.MustParseAddr("192.0.2.1"), "mallory")
	}
	if ask(th, start, "192.0.2.1", "victim99") == 0 {
		t.Error("the address is free")
	}
	if w := ask(th, start, "192.0.2.1", "mallory"); w != 0 {
		t.Errorf("the one with the account waits %v", w)
	}
}

func TestToldOnce(t *testing.T) {
	th := New(Options{})
	fail(th, 8, start, "192.0.2.1", "u")
	a := netip.MustParseAddr("192.0.2.1")
	first, second := th.Ask(start, a, "u"), th.Ask(start, a, "u")
	if !first.First || second.First || first.Who == "" {
		t.Errorf("%+v, %+v", first, second)
	}
	fail(th, 1, at(time.Minute), "192.0.2.1", "u")
	if b := th.Ask(at(time.Minute), a, "u"); !b.First {
		t.Error("the next block is not told")
	}
}

// However many addresses and names there are, and however long, memory is bounded.
func TestBounded(t *testing.T) {
	th := New(Options{Entries: 100})
	long := strings.Repeat("x", 60000)
	for i := range 10000 {
		a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		th.Failed(start, a, long+fmt.Sprint(i))
		th.Succeeded(start, a, fmt.Sprint(i))
	}
	if a, u, p := len(th.addresses.entries), len(th.users.entries), len(th.pairs.entries); a > 100 || u > 100 || p > 100 {
		t.Errorf("%d addresses, %d users, %d pairs", a, u, p)
	}
	if th.addresses.order.Len() != len(th.addresses.entries) {
		t.Error("the order holds what the table does not")
	}
}

func TestOffAndUnknown(t *testing.T) {
	th := New(Options{Off: true})
	fail(th, 100, start, "192.0.2.1", "u")
	if ask(th, start, "192.0.2.1", "u") != 0 {
		t.Error("it throttles although it is off")
	}
	th = New(Options{})
	for range 100 {
		th.Failed(start, netip.Addr{}, "") // a unix socket, no name
	}
	if b := th.Ask(start, netip.Addr{}, ""); b.Wait != 0 {
		t.Errorf("everybody without an address waits: %+v", b)
	}
}
