package subtree

const (
	slabBits = 10
	slabSize = 1 << slabBits
)

// slab hands out numbered places for values without pointers. It grows by chunks, so that a large one is never copied
// and its places never move. Number 0 is never handed out: it stands for none.
type slab[T any] struct {
	chunks []*[slabSize]T
	next   uint32
	free   []uint32
}

// at returns the place numbered i.
func (s *slab[T]) at(i uint32) *T { return &s.chunks[i>>slabBits][i%slabSize] }

// alloc returns the number of a zeroed place.
func (s *slab[T]) alloc() uint32 {
	if k := len(s.free); k > 0 {
		i := s.free[k-1]
		s.free = s.free[:k-1]
		return i
	}
	if s.next == 0 {
		s.next = 1
	}
	if int(s.next>>slabBits) == len(s.chunks) {
		s.chunks = append(s.chunks, new([slabSize]T))
	}
	i := s.next
	s.next++
	return i
}

// release takes place i back.
func (s *slab[T]) release(i uint32) {
	var zero T
	*s.at(i) = zero
	s.free = append(s.free, i)
}
