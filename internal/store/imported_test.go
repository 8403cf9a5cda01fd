package store

import (
	"encoding/hex"
	"testing"
)

// Nothing of what was imported from a database is waited for, in which there is no work; that of
// a journal without work is.
func TestImportedAwaited(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		for number, life := range []string{"", "a"} {
			in := instance(byte(8 + number))
			if _, err := n.s.Register(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			apply(t, n.s, &Batch{Instance: in.ID, To: Position{1, 1234, life}, At: started, Minutes: []Minute{{At: started, Users: 1}}})
		}
		p.jobAt(101, 10)
		p.find("bob", 60, true, out(1000, poolScript))
		p.over()
		n.follow()
		list, err := n.s.Awaited(t.Context(), 101)
		if err != nil || len(list) != 1 || list[0].Name != "pool9" {
			t.Fatalf("%+v, %v", list, err)
		}
		n.has("")
		n.set(SettingRetired, hex.EncodeToString(list[0].ID[:]), 0)
		n.follow()
		n.has("chain -1000, fee immature 0, bob immature 1000")
	})
}
