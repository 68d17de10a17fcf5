package subtree

// Match appends to dst the subscriptions whose filter matches topic, one element per subscription: a subscriber comes as
// often as it has matching filters. Filters that begin with a wildcard do not match topics that begin with '$'
// [MQTT-4.7.2-1]. It allocates nothing but what dst needs to grow.
func (t *Tree) Match(topic string, dst []Sub) []Sub {
	t.mu.RLock()
	defer t.mu.RUnlock()
	w := walk{t: t, dst: dst}
	w.descend(rootNode, topic, hidden(topic))
	return w.dst
}

// fewSubs is up to how many subscriptions of one subscriber it is quicker to try each than to walk the tree.
const fewSubs = 8

// MatchSubscriber is Match for the subscriptions of s alone.
func (t *Tree) MatchSubscriber(topic string, s SubscriberID, dst []Sub) []Sub {
	t.mu.RLock()
	defer t.mu.RUnlock()
	o := t.owners[s]
	if o.count > fewSubs {
		w := walk{t: t, dst: dst, only: s, one: true}
		w.descend(rootNode, topic, hidden(topic))
		return w.dst
	}
	for i := o.first; i != 0; {
		p := t.subs.at(i)
		if _, ended, ok := t.consume(p.node, topic); ok && ended {
			dst = append(dst, Sub{s, p.opts, p.subID})
		}
		i = p.nextOfOwner
	}
	return dst
}

// hidden reports whether leading wildcards pass the topic by.
func hidden(topic string) bool { return topic != "" && topic[0] == '$' }

// walk is one way down the tree.
type walk struct {
	t    *Tree
	dst  []Sub
	only SubscriberID // whom to collect, if one
	one  bool
}

// descend visits those children of n that match the next level of the topic. A topic meets no more nodes than there are
// filters that agree with it so far, and is no deeper than the longest filter.
func (w *walk) descend(n uint32, topic string, hidden bool) {
	p := w.t.nodes.at(n)
	if p.multi != 0 && !hidden {
		w.take(p.multi)
	}
	if p.plus|p.literals == 0 {
		return
	}
	level, rest, last := cut(topic)
	if p.plus != 0 && !hidden {
		w.enter(p.plus, rest, last)
	}
	if p.literals != 0 {
		if c := w.t.literalChild(n, level); c != 0 {
			w.enter(c, rest, last)
		}
	}
}

// enter takes a node whose level has matched. rest is what follows it in the topic, if it was not the last.
func (w *walk) enter(n uint32, rest string, last bool) {
	if !last {
		w.descend(n, rest, false)
		return
	}
	w.take(n)
	if m := w.t.nodes.at(n).multi; m != 0 {
		w.take(m) // '#' stands for the parent level too (MQTT 5 §4.7.1.2)
	}
}

// take collects the subscriptions of a node.
func (w *walk) take(n uint32) {
	t := w.t
	if w.one {
		if i := t.findSub(w.only, n); i != 0 {
			p := t.subs.at(i)
			w.dst = append(w.dst, Sub{w.only, p.opts, p.subID})
		}
		return
	}
	for i := t.nodes.at(n).first; i != 0; {
		p := t.subs.at(i)
		w.dst = append(w.dst, Sub{p.subscriber, p.opts, p.subID})
		i = p.nextOfNode
	}
}

// consume matches the filter that ends at node n against the start of topic. rest is what it leaves over; ended: nothing.
func (t *Tree) consume(n uint32, topic string) (rest string, ended, ok bool) {
	if n == rootNode {
		return topic, false, true
	}
	p := t.nodes.at(n)
	if p.parent == rootNode && p.kind != literal && hidden(topic) {
		return "", false, false
	}
	rest, ended, ok = t.consume(p.parent, topic)
	switch {
	case !ok:
		return "", false, false
	case p.kind == multi:
		return "", true, true
	case ended:
		return "", false, false
	}
	level, rest, ended := cut(rest)
	return rest, ended, p.kind == plus || level == t.level(p)
}
