package recent

import (
	"maps"
	"testing"
)

func TestMap(t *testing.T) {
	m := New[string, int](0)
	m.Put("a", 1)
	m.Put("b", 2)
	m.Age()
	m.Put("a", 3) // again: young
	if got := maps.Collect(m.All()); len(got) != 2 || got["a"] != 3 || got["b"] != 2 || m.Len() != 2 {
		t.Errorf("after one age %v, length %d", got, m.Len())
	}
	m.Age()
	if v, ok := m.Get("a"); !ok || v != 3 {
		t.Errorf("a was put since the age before: %d %v", v, ok)
	}
	if v, ok := m.Get("b"); ok {
		t.Errorf("b was not put for two ages and is still %d", v)
	}
}

// Whatever comes, no more is kept than was said, and what came last is there.
func TestMapMakesRoom(t *testing.T) {
	const most = 100
	m := New[int, int](most)
	for i := range 100_000 {
		m.Put(i, i)
		if i%3 == 0 {
			m.Put(i, i+1)
		}
		if n := len(m.young) + len(m.old); n > most {
			t.Fatalf("%d keys of at most %d", n, most)
		}
		for back := range min(i, most/2) {
			if _, ok := m.Get(i - back); !ok {
				t.Fatalf("key %d is forgotten when %d is put", i-back, i)
			}
		}
	}
}
