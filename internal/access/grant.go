package access

import (
	"net/netip"

	"github.com/nightjar-mqtt/nightjar/broker"
	"github.com/nightjar-mqtt/nightjar/internal/access/acl"
)

// way is how a client has logged in.
type way byte

const (
	unknownWay way = iota
	anonymous      // by giving no name
	anybody        // everybody may connect, whatever it calls itself
	byPassword
	byCertificate
	byToken
	byHook
)

// grant is what is known of a client from its login beyond its names: rules may ask for it. The broker keeps it with the
// client's identity, so that it lives as long as anything of that login does: the connection, the session, what it has
// retained. It is not stored. Who comes from the store is known by its names alone: see state.siteOf and site.receive.
type grant struct {
	at                 *place
	address            netip.Addr
	publish, subscribe *acl.Filters // nil: there is no such list
	way                way
	// What decisions depended on at the login: known is more than the names, addresses the address.
	known, addresses bool
}

// place is a listener.
type place struct {
	name  string
	short string // as rules call it
}

// place gives a listener's, the same for all its clients.
func (a *Access) place(name string) *place {
	if p, ok := a.places.Load(name); ok {
		return p.(*place) //nolint:forcetypeassert // it holds nothing else
	}
	p, _ := a.places.LoadOrStore(name, &place{name: name, short: acl.ListenerName(name)})
	return p.(*place) //nolint:forcetypeassert // as above
}

// grantOf is the grant of a client; nil: it has none.
func grantOf(who *broker.Identity) *grant {
	g, _ := who.Grant.(*grant)
	return g
}

// client is a client as rules see it.
func (g *grant) client(who *broker.Identity) acl.Client {
	c := acl.Client{Username: who.Username, ClientID: who.ClientID}
	if g != nil {
		c.Address, c.Listener = g.address, g.at.short
	}
	return c
}

// Equal tells the broker whether what was decided by the client's grant before holds by this one, so that a client which comes
// back does not empty its caches.
func (g *grant) Equal(was any) bool {
	o, _ := was.(*grant)
	switch {
	case o == nil:
		return !g.known
	case !g.publish.Equal(o.publish) || !g.subscribe.Equal(o.subscribe):
		return false
	case !g.known:
		return true
	}
	return g.at.name == o.at.name && (!g.addresses || g.address == o.address)
}
