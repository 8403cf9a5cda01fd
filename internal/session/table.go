package session

// table interns counted values that sessions refer to by index, so that
// sessions carry no pointers. Index 0 is the zero value. Rows do not move.
type table[K comparable, T any] struct {
	index  map[K]uint32
	chunks []*[tableChunk]row[K, T]
	used   uint32 // rows ever given out
	free   []uint32
}

const tableChunk = 256

type row[K comparable, T any] struct {
	key   K
	value T
	uses  uint32
}

// at is the row of an index that is in use.
func (t *table[K, T]) at(i uint32) *row[K, T] {
	return &t.chunks[(i-1)/tableChunk][(i-1)%tableChunk]
}

func (t *table[K, T]) get(i uint32) T {
	if i == 0 {
		var zero T
		return zero
	}
	return t.at(i).value
}

// row is the index of the value under key, 0 if there is none.
func (t *table[K, T]) row(key K) uint32 { return t.index[key] }

// find is the value under key, nil if there is none. It stays where it is.
func (t *table[K, T]) find(key K) *T {
	if i := t.row(key); i != 0 {
		return &t.at(i).value
	}
	return nil
}

// use returns the index of the value made under key, counting one more use. A
// value under the zero key has one use only.
func (t *table[K, T]) use(key K, value T) uint32 {
	var none K
	if i := t.index[key]; i != 0 {
		t.at(i).uses++
		return i
	}
	i := t.take()
	*t.at(i) = row[K, T]{key, value, 1}
	if key == none {
		return i
	}
	if t.index == nil {
		t.index = map[K]uint32{}
	}
	t.index[key] = i
	return i
}

func (t *table[K, T]) take() uint32 {
	if n := len(t.free); n > 0 {
		i := t.free[n-1]
		t.free = t.free[:n-1]
		return i
	}
	if int(t.used/tableChunk) == len(t.chunks) {
		t.chunks = append(t.chunks, new([tableChunk]row[K, T]))
	}
	t.used++
	return t.used
}

// makeRoom finds memory for about n more values.
func (t *table[K, T]) makeRoom(n int) {
	t.index = grown(t.index, n)
	for len(t.chunks)*tableChunk < int(t.used)+n {
		chunk := new([tableChunk]row[K, T])
		for i := range chunk {
			chunk[i].uses = 1 // the system finds memory when it is written to
		}
		clear(chunk[:])
		t.chunks = append(t.chunks, chunk)
	}
}

// release gives one use back.
func (t *table[K, T]) release(i uint32) {
	if i == 0 {
		return
	}
	r := t.at(i)
	if r.uses--; r.uses > 0 {
		return
	}
	var none K
	if r.key != none {
		delete(t.index, r.key)
	}
	*r = row[K, T]{}
	t.free = append(t.free, i)
}
