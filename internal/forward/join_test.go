package forward

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store"
)

// named are the rows of batches with names in the place of their numbers.
func named(list ...*store.Batch) (rows []string) {
	for _, b := range list {
		who := func(i int32) string {
			if i < 0 {
				return "nobody"
			}
			return fmt.Sprint(b.Workers[i])
		}
		for _, v := range b.Shares {
			w, a := who(v.Worker), b.Agents[v.Agent]
			v.Worker, v.Agent = 0, 0
			rows = append(rows, fmt.Sprint("share ", w, a, v))
		}
		for _, v := range b.Rejects {
			w, a := who(v.Worker), b.Agents[v.Agent]
			v.Worker, v.Agent = 0, 0
			rows = append(rows, fmt.Sprint("reject ", w, a, v))
		}
		for _, v := range b.Seen {
			rows = append(rows, fmt.Sprint("seen ", who(v.Worker), v.At))
		}
		for _, v := range b.Blocks {
			w := who(v.Worker)
			v.Worker = 0
			rows = append(rows, fmt.Sprint("block ", w, v))
		}
		rows = append(rows, fmt.Sprint(b.Jobs), fmt.Sprint(b.Changes), fmt.Sprint(b.Minutes), fmt.Sprint(b.Gaps))
	}
	return rows
}

// What is stored of several batches together is what would be stored of each.
func TestJoin(t *testing.T) {
	a, b := full(), full()
	b.batch.From, b.batch.To, b.batch.At = a.batch.To, store.Position{Epoch: 2, Number: 9, Life: "b6"}, a.batch.At+5
	b.batch.Workers = []store.Worker{{Kind: store.User, Account: "bob", Name: "x"}, a.batch.Workers[0], {Kind: store.User, Account: "carol"}}
	b.batch.Agents = []string{"bitaxe", "", "cgminer/4.12"}
	other := b.batch.Shares[0]
	other.Number, other.Worker, other.Agent = 8, 0, 2
	b.batch.Shares = append(b.batch.Shares, other)
	b.batch.Rejects[0].Worker, b.batch.Rejects[0].Agent = 2, 0
	b.batch.Seen[0].Worker = 2
	b.batch.Blocks[0].Worker = 0
	if !b.follows(&a) {
		t.Fatal("it does not follow")
	}
	got := join([]message{a, b})
	unset(t, reflect.ValueOf(*got), "batch")
	if got.Instance != a.batch.Instance || got.From != a.batch.From || got.To != b.batch.To || got.At != b.batch.At || len(got.Workers) != 4 || len(got.Agents) != 3 {
		t.Errorf("%+v", got)
	}
	count := map[string]int{}
	for _, text := range named(&a.batch, &b.batch) {
		count[strings.Trim(text, "[]")]++
	}
	for _, text := range named(got) {
		for part := range strings.SplitSeq(strings.ReplaceAll(strings.Trim(text, "[]"), "} {", "}\x00{"), "\x00") {
			count[part]--
		}
	}
	for text, n := range count {
		if n != 0 {
			t.Errorf("%d times too few: %s", n, text)
		}
	}
	for _, change := range []func(m *message){
		func(m *message) { m.batch.From.Number-- },
		func(m *message) { m.batch.To = store.Position{Epoch: 3, Number: 1} },
		func(m *message) { m.network = "main" },
	} {
		c := b
		if change(&c); c.follows(&a) {
			t.Errorf("%+v follows %+v", c, a)
		}
	}
}

// row is that of so many batches of an instance, with a share each.
func row(n int) (list []message) {
	for i := range n {
		at := store.Position{Epoch: 1, Number: int64(i + 1)}
		m := message{generation: 7, name: "pool", network: "regtest", batch: store.Batch{
			Instance: [16]byte{1}, From: store.Position{Epoch: 1, Number: int64(i)}, To: at, At: 1_795_327_613_000_000,
			Workers: []store.Worker{{Kind: store.User, Account: "alice"}}, Agents: []string{"x"},
			Shares: []store.Share{{Number: at.Number, Received: 1_795_327_613_000_000, NTime: 1_795_327_613, Hash: [16]byte{byte(i + 1)}, Credit: difficulty.ExactOf(1)}},
		}}
		if i == 0 {
			m.batch.From = store.Position{}
		}
		list = append(list, m)
	}
	return list
}

// A row of batches of which the database has some, as another receiver has stored them
// meanwhile, is stored from there on; one before which something is missing is not, and
// is asked for again.
func TestTogether(t *testing.T) {
	for _, tt := range []struct {
		name          string
		before        int   // batches that are stored already
		row           []int // that come
		stored        int64
		hole, applied bool
	}{
		{"all new", 0, []int{0, 1, 2}, 3, false, true},
		{"some stored", 2, []int{0, 1, 2, 3}, 4, false, true},
		{"all stored", 3, []int{0, 1, 2}, 3, false, false},
		{"one missing before", 1, []int{2, 3}, 1, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, all := openDatabase(t), row(5)
			r := &Receiver{Store: d.store}
			s := &site{}
			s.ID = [16]byte{1}
			if _, err := r.begin(t.Context(), s, "pool", "regtest", nil); err != nil {
				t.Fatal(err)
			}
			for i := range tt.before {
				if _, err := d.store.Apply(t.Context(), &all[i].batch); err != nil {
					t.Fatal(err)
				}
			}
			var come []message
			for _, i := range tt.row {
				come = append(come, all[i])
			}
			if err := r.put(t.Context(), s, come); err != nil {
				t.Fatal(err)
			}
			list, _, err := d.store.Status(t.Context())
			if err != nil || len(list) != 1 || list[0].Shares != tt.stored || list[0].Repeated != 0 || list[0].At.Number != tt.stored || s.Position != list[0].At {
				t.Errorf("%+v, %v; the receiver is at %v", list, err, s.Position)
			}
			if (s.hole == 7) != tt.hole || (s.Shares > 0) != tt.applied {
				t.Errorf("hole %d, %d shares", s.hole, s.Shares)
			}
			d.consistent()
		})
	}
}

// What trying again does not mend is refused with what it is.
func TestConnectRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "creds")
	if err := os.WriteFile(file, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ servers, credentials, want string }{
		{"http://a:secret@b", "", "NATS http://a:xxxxx@b: want tls://HOST or nats://HOST"},
		{"tls://a,,tls://b", "", "NATS tls://a,,tls://b: want tls://HOST or nats://HOST"},
		{"nats://a", file, "NATS: " + file + ": there are no credentials of NATS in it"},
		{"nats://a", file + "2", "NATS: " + file + "2: no such file or directory"},
	} {
		if c, err := Connect(tt.servers, tt.credentials, "test", nil); err == nil || err.Error() != tt.want {
			t.Errorf("%v, %v, want %s", c, err, tt.want)
		}
	}
}
