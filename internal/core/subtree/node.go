package subtree

import "hash/maphash"

// rootNode is the node above the first level.
const rootNode uint32 = 1

// kind tells what level of a filter a node stands for.
type kind uint8

const (
	literal kind = iota
	plus         // '+' (MQTT 5 §4.7.1.3)
	multi        // '#' (MQTT 5 §4.7.1.2)
)

// node is one level of a filter below its parent. A filter's subscriptions hang on the node of its last level.
type node struct {
	parent   uint32
	chain    uint32 // the next literal child of the same parent whose level has the same hash
	text     uint32 // literal: where the arena keeps the level
	first    uint32 // list of subscriptions
	count    uint32 // their number
	plus     uint32 // child '+'
	multi    uint32 // child '#'
	literals uint32 // number of literal children; they are found through Tree.edges
	textLen  uint16
	kind     kind
	indexed  bool // the subscriptions are in Tree.index
}

// edge leads from a node to the literal children whose level has this hash.
type edge struct {
	parent uint32
	hash   uint32
}

// hashLevel is seeded, so that nobody can send levels that collide on purpose.
func (t *Tree) hashLevel(level string) uint32 {
	return uint32(maphash.String(t.seed, level)) & t.hashMask
}

// literalChild finds the child of n for the level as it stands, 0 if there is none.
func (t *Tree) literalChild(n uint32, level string) uint32 {
	c := t.edges[edge{n, t.hashLevel(level)}]
	for c != 0 {
		p := t.nodes.at(c)
		if int(p.textLen) == len(level) && t.texts.get(p.text, len(level)) == level {
			return c
		}
		c = p.chain
	}
	return 0
}

// child finds the child of n for one level of a filter, 0 if there is none.
func (t *Tree) child(n uint32, level string) uint32 {
	switch level {
	case "+":
		return t.nodes.at(n).plus
	case "#":
		return t.nodes.at(n).multi
	}
	return t.literalChild(n, level)
}

// makeChild adds the child of n for one level of a filter.
func (t *Tree) makeChild(n uint32, level string) uint32 {
	c := t.nodes.alloc()
	p, parent := t.nodes.at(c), t.nodes.at(n)
	p.parent = n
	switch level {
	case "+":
		p.kind, parent.plus = plus, c
	case "#":
		p.kind, parent.multi = multi, c
	default:
		p.text, p.textLen = t.texts.put(level), uint16(len(level))
		e := edge{n, t.hashLevel(level)}
		p.chain = t.edges[e]
		t.edges[e] = c
		parent.literals++
	}
	return c
}

// findPath returns the node of a filter, 0 if there is none.
func (t *Tree) findPath(filter string) uint32 {
	n := rootNode
	for last := false; !last && n != 0; {
		var level string
		level, filter, last = cut(filter)
		n = t.child(n, level)
	}
	return n
}

// makePath returns the node of a filter and makes those that are missing.
func (t *Tree) makePath(filter string) uint32 {
	n := rootNode
	for last := false; !last; {
		var level string
		level, filter, last = cut(filter)
		c := t.child(n, level)
		if c == 0 {
			c = t.makeChild(n, level)
		}
		n = c
	}
	return n
}

// prune removes node n and those above it that nothing hangs on any more.
func (t *Tree) prune(n uint32) {
	for n != rootNode {
		p := t.nodes.at(n)
		if p.first != 0 || p.plus != 0 || p.multi != 0 || p.literals != 0 {
			return
		}
		up := p.parent
		t.unlinkNode(n, p)
		t.nodes.release(n)
		n = up
	}
}

// unlinkNode takes n off its parent.
func (t *Tree) unlinkNode(n uint32, p *node) {
	parent := t.nodes.at(p.parent)
	switch p.kind {
	case plus:
		parent.plus = 0
		return
	case multi:
		parent.multi = 0
		return
	}
	e := edge{p.parent, t.hashLevel(t.level(p))}
	if head := t.edges[e]; head != n {
		q := t.nodes.at(head)
		for q.chain != n {
			q = t.nodes.at(q.chain)
		}
		q.chain = p.chain
	} else if p.chain != 0 {
		t.edges[e] = p.chain
	} else {
		delete(t.edges, e)
	}
	parent.literals--
	t.texts.drop(p.text, int(p.textLen))
}

// level is the text of a node's level; it views the arena.
func (t *Tree) level(p *node) string {
	switch p.kind {
	case plus:
		return "+"
	case multi:
		return "#"
	}
	return t.texts.get(p.text, int(p.textLen))
}

// appendFilter appends the filter that ends at node n.
func (t *Tree) appendFilter(dst []byte, n uint32) []byte {
	p := t.nodes.at(n)
	if p.parent != rootNode {
		dst = append(t.appendFilter(dst, p.parent), '/')
	}
	return append(dst, t.level(p)...)
}
