package records

import (
	"testing"

	"github.com/ckpool/ckpool/internal/wire"
)

// grown is a record that had one field in its first form and has two now.
type grown struct{ old, added int64 }

func (g *grown) fields(c *wire.Codec) { wire.Int(c, &g.old, &g.added) }

func TestEarlier(t *testing.T) {
	record := func(fields func(*wire.Codec)) []byte {
		c := wire.Append(nil)
		c.Versioned(1, fields)
		return c.Written()
	}
	first := grown{old: 5}
	now := grown{old: 5, added: 6}
	v := Earlier(t, record(func(c *wire.Codec) { wire.Int(c, &first.old) }), 1, (*grown).fields)
	if *v != first {
		t.Errorf("the first form is read as %+v", *v)
	}
	if v := Check(t, record(now.fields), 1, (*grown).fields); *v != now {
		t.Errorf("the newest form is read as %+v", *v)
	}
}
