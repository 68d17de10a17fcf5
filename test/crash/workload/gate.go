package workload

import (
	"context"
	"net"
	"sync"
	"time"
)

// Gate is where the clients learn where the broker is, and whether it is there.
type Gate struct {
	mu      sync.Mutex
	addr    string // "" while it is shut
	life    int
	changed chan struct{}
}

// NewGate returns a gate that is shut.
func NewGate() *Gate { return &Gate{changed: make(chan struct{})} }

// Open lets clients in to a broker, in its given life.
func (g *Gate) Open(addr string, life int) { g.set(addr, life) }

// Shut is called before the broker is killed: from then on a lost connection is nothing to wonder at.
func (g *Gate) Shut() { g.set("", 0) }

func (g *Gate) set(addr string, life int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.addr, g.life = addr, life
	close(g.changed)
	g.changed = make(chan struct{})
}

// Current tells whether the broker is still in that life.
func (g *Gate) Current(life int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.addr != "" && g.life == life
}

// dialTimeout is for a broker that does not accept; retryAfter keeps those whom it refuses from storming it.
const (
	dialTimeout = 5 * time.Second
	retryAfter  = 5 * time.Millisecond
)

// Dial waits for the gate to open and connects. An error is that of ctx.
func (g *Gate) Dial(ctx context.Context) (net.Conn, int, error) {
	d := net.Dialer{Timeout: dialTimeout}
	for {
		g.mu.Lock()
		addr, life, changed := g.addr, g.life, g.changed
		g.mu.Unlock()
		var retry <-chan time.Time
		if addr != "" {
			c, err := d.DialContext(ctx, "tcp", addr)
			if err == nil {
				return c, life, nil
			}
			retry = time.After(retryAfter)
		}
		select {
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-changed:
		case <-retry:
		}
	}
}
