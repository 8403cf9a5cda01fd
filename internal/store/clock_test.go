package store

import (
	"testing"
	"time"
)

// The clock was ahead when ckdb came to know what is the pool's, and from which block on, and
// was set back since: both hold on.
func TestClockSetBack(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		n := newNetwork(t, where)
		p := n.pool(1)
		p.jobAt(101, 10)
		p.find("bob", 60, true, out(500, poolScript))
		ahead := time.Now().Add(time.Hour).UnixMicro()
		for number, name := range []string{SettingScripts, SettingStart} {
			change(t, n.s, "insert into settings (number, name, account, value, since, height, at, by) values ($1, $2, 0, $3, $4, 0, $4, 'ann')",
				int64(number+1), name, []string{"51", "102"}[number], ahead)
		}
		if _, _, err := n.s.Follow(t.Context()); err != nil {
			t.Fatal(err)
		}
		change(t, n.s, "update chain_scripts set at = $1", ahead)
		p.jobAt(102, 10)
		p.find("bob", 60, true, out(1000, poolScript), out(7, []byte{0x51}))
		p.over()
		n.follow()
		n.has("chain -1007, fee immature 0, bob immature 1007")
		consistent(t, n.s)
	})
}
