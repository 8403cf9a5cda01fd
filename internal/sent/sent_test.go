package sent

import (
	"fmt"
	"testing"

	"github.com/ckpool/ckpool/stratum"
)

// A miner's jobs are those of the present tip and the one before, so many at most, each with
// the difficulties that it may be judged by.
func TestMiner(t *testing.T) {
	l := Loop{Most: 3}
	var m Miner
	hear := func(format string, args ...any) {
		t.Helper()
		var msg stratum.Message
		if stratum.Scan(fmt.Appendf(nil, format, args...), &msg) != stratum.Object {
			t.Fatal(format)
		}
		m.Heard(&msg, false, &l)
	}
	difficulty := func(d float64) { hear(`{"id":null,"method":"mining.set_difficulty","params":[%g]}`, d) }
	job := func(id, tip int) {
		hear(`{"id":null,"method":"mining.notify","params":["%x","%064x","01","02",[],"20000000","1d00ffff","68e77800",true]}`, id, tip)
	}
	want := func(what string, jobs ...string) {
		t.Helper()
		var got []string
		for _, g := range m.Jobs {
			got = append(got, fmt.Sprintf("%x %g %g %t", g.ID, g.Difficulty, g.Least, g.Tip == m.Tip))
		}
		if fmt.Sprint(got) != fmt.Sprint(jobs) {
			t.Errorf("%s: %q, want %q", what, got, jobs)
		}
	}
	difficulty(8)
	job(1, 1)
	difficulty(4)
	job(2, 1)
	difficulty(16)
	want("a fall and a raise", "1 8 4 true", "2 4 4 true")
	job(3, 2)
	want("a new tip", "1 8 4 false", "2 4 4 false", "3 16 16 true")
	job(4, 2)
	want("more than are kept", "2 4 4 false", "3 16 16 true", "4 16 16 true")
	job(5, 3)
	want("another tip", "3 16 16 false", "4 16 16 false", "5 16 16 true")
	if m.Job(4, 0) == nil || m.Job(4, 1) != nil || m.Job(2, 0) != nil {
		t.Error("jobs by id")
	}
	hear(`{"id":null,"method":"mining.set_extranonce","params":["0102",4]}`)
	want("another extranonce1")
}
