package session

// table interns counted values that sessions refer to by index, so that
// sessions carry no pointers. Index 0 is the zero value.
type table[T any] struct {
	index map[string]uint32
	rows  []row[T]
	free  []uint32
}

type row[T any] struct {
	key   string
	value T
	uses  uint32
}

func (t *table[T]) get(i uint32) T {
	if i == 0 {
		var zero T
		return zero
	}
	return t.rows[i-1].value
}

// use returns the index of the value made under key, counting one more use.
func (t *table[T]) use(key string, value T) uint32 {
	if i := t.index[key]; i != 0 {
		t.rows[i-1].uses++
		return i
	}
	var i uint32
	r := row[T]{key, value, 1}
	if n := len(t.free); n > 0 {
		i = t.free[n-1]
		t.free = t.free[:n-1]
		t.rows[i-1] = r
	} else {
		t.rows = append(t.rows, r)
		i = uint32(len(t.rows))
	}
	if t.index == nil {
		t.index = map[string]uint32{}
	}
	t.index[key] = i
	return i
}

// release gives one use back.
func (t *table[T]) release(i uint32) {
	if i == 0 {
		return
	}
	r := &t.rows[i-1]
	if r.uses--; r.uses > 0 {
		return
	}
	delete(t.index, r.key)
	*r = row[T]{}
	t.free = append(t.free, i)
}
