package session

import "iter"

// further are the logins of a connection after its first, found by name in a
// time that does not grow with them.
type further struct {
	order  []uint32
	byName map[string]uint32
}

func (f *further) count() int {
	if f == nil {
		return 0
	}
	return len(f.order)
}

// addLogin makes a row of logins one of the connection's.
func (c client) addLogin(i uint32) {
	if c.s.login == 0 {
		c.s.login = i
		return
	}
	f := c.extra[c.slot]
	if f == nil {
		f = &further{byName: map[string]uint32{}}
		c.extra[c.slot] = f
	}
	f.order = append(f.order, i)
	f.byName[c.logins.at(i).value.name] = i
}

// findLogin is the connection's login of that name, 0 when there is none.
func (c client) findLogin(name []byte) uint32 {
	if c.s.login == 0 {
		return 0
	}
	if c.logins.at(c.s.login).value.name == string(name) {
		return c.s.login
	}
	if f := c.extra[c.slot]; f != nil {
		return f.byName[string(name)]
	}
	return 0
}

// allLogins are the connection's logins, the first first.
func (c client) allLogins() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		if c.s.login == 0 || !yield(c.s.login) {
			return
		}
		if f := c.extra[c.slot]; f != nil {
			for _, i := range f.order {
				if !yield(i) {
					return
				}
			}
		}
	}
}
