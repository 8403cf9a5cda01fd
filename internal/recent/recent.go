// Package recent remembers values by key for a while after they were put, at a
// cost that does not grow with what is remembered: nothing is ever searched for
// what is over, a whole generation is forgotten at once.
package recent

import "iter"

// Map holds values in two generations. What was put is remembered until the
// second call of Age that follows, or until so many other keys were put that it
// had to make room. The zero value is not usable; the owner locks.
type Map[K comparable, V any] struct {
	most       int // keys of a generation, 0: any number
	young, old map[K]V
}

// New makes a Map of at most the given number of keys; 0 is any number.
func New[K comparable, V any](keys int) Map[K, V] {
	m := Map[K, V]{young: make(map[K]V)}
	if keys > 0 {
		m.most = max(keys/2, 1)
	}
	return m
}

// Get finds what was put last under key.
func (m *Map[K, V]) Get(key K) (value V, ok bool) {
	if value, ok = m.young[key]; ok {
		return value, true
	}
	value, ok = m.old[key]
	return value, ok
}

// Put remembers value under key, from now on.
func (m *Map[K, V]) Put(key K, value V) {
	if m.most > 0 && len(m.young) >= m.most {
		if _, known := m.young[key]; !known {
			m.Age()
		}
	}
	m.young[key] = value
}

// Age forgets what was not put since the last call.
func (m *Map[K, V]) Age() { m.old, m.young = m.young, make(map[K]V) }

// All gives every key with what was put last under it, the old generation
// first.
func (m *Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for key, value := range m.old {
			if _, newer := m.young[key]; !newer && !yield(key, value) {
				return
			}
		}
		for key, value := range m.young {
			if !yield(key, value) {
				return
			}
		}
	}
}

// Len is how many keys All gives.
func (m *Map[K, V]) Len() int {
	n := len(m.young)
	for key := range m.old {
		if _, newer := m.young[key]; !newer {
			n++
		}
	}
	return n
}
