package subtree

import "github.com/nightjar-mqtt/nightjar/mqtt"

// sub is one subscription. It is on two lists: that of its node and that of its owner.
type sub struct {
	subscriber  SubscriberID
	node        uint32
	subID       uint32
	nextOfNode  uint32
	prevOfNode  uint32
	nextOfOwner uint32
	prevOfOwner uint32
	opts        mqtt.SubOptions
}

// owner heads the list of one subscriber's subscriptions.
type owner struct{ first, count uint32 }

type subKey struct {
	subscriber SubscriberID
	node       uint32
}

// A subscriber's subscription on a node is found by walking the node's list while that is short, which it is for most
// of a million filters; an entry in a map for each would cost as much as the subscription itself. Lists that have become
// long are indexed, until they are short again.
const (
	indexAbove = 16
	indexUntil = 8
)

// findSub returns the subscription of s on node n, 0 if there is none.
func (t *Tree) findSub(s SubscriberID, n uint32) uint32 {
	p := t.nodes.at(n)
	if p.indexed {
		return t.index[subKey{s, n}]
	}
	for i := p.first; i != 0; {
		q := t.subs.at(i)
		if q.subscriber == s {
			return i
		}
		i = q.nextOfNode
	}
	return 0
}

// addSub puts v at the head of both lists.
func (t *Tree) addSub(v sub) {
	i := t.subs.alloc()
	p, o := t.nodes.at(v.node), t.owners[v.subscriber]
	v.nextOfNode, v.nextOfOwner = p.first, o.first
	if p.first != 0 {
		t.subs.at(p.first).prevOfNode = i
	}
	if o.first != 0 {
		t.subs.at(o.first).prevOfOwner = i
	}
	*t.subs.at(i) = v
	p.first = i
	p.count++
	t.owners[v.subscriber] = owner{i, o.count + 1}
	t.length++
	switch {
	case p.indexed:
		t.index[subKey{v.subscriber, v.node}] = i
	case p.count > indexAbove:
		p.indexed = true
		for j := p.first; j != 0; j = t.subs.at(j).nextOfNode {
			t.index[subKey{t.subs.at(j).subscriber, v.node}] = j
		}
	}
}

// removeSub takes subscription i off both lists. The caller prunes its node.
func (t *Tree) removeSub(i uint32) {
	v := *t.subs.at(i)
	p, o := t.nodes.at(v.node), t.owners[v.subscriber]
	if v.prevOfNode != 0 {
		t.subs.at(v.prevOfNode).nextOfNode = v.nextOfNode
	} else {
		p.first = v.nextOfNode
	}
	if v.nextOfNode != 0 {
		t.subs.at(v.nextOfNode).prevOfNode = v.prevOfNode
	}
	if v.prevOfOwner != 0 {
		t.subs.at(v.prevOfOwner).nextOfOwner = v.nextOfOwner
	} else {
		o.first = v.nextOfOwner
	}
	if v.nextOfOwner != 0 {
		t.subs.at(v.nextOfOwner).prevOfOwner = v.prevOfOwner
	}
	t.subs.release(i)
	p.count--
	t.length--
	if o.count--; o.count == 0 {
		delete(t.owners, v.subscriber)
	} else {
		t.owners[v.subscriber] = o
	}
	if !p.indexed {
		return
	}
	delete(t.index, subKey{v.subscriber, v.node})
	if p.count < indexUntil {
		p.indexed = false
		for j := p.first; j != 0; j = t.subs.at(j).nextOfNode {
			delete(t.index, subKey{t.subs.at(j).subscriber, v.node})
		}
	}
}
