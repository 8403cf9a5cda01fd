package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ckpool/ckpool/difficulty"
	pgdb "github.com/ckpool/ckpool/internal/store/postgres"
	"github.com/ckpool/ckpool/internal/store/sqlite"
	"github.com/ckpool/ckpool/internal/store/table"
	"github.com/ckpool/ckpool/internal/testkit/postgres"
)

// Tests named after a number are cases of other pools' accounting that went wrong.

// 23: a share earns in the one scheme that it was first stored with.
func TestCase23(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, in := registered(t, where, 1)
		b := batch(in, 1, 4)
		b.Shares[1].Scheme, b.Shares[2].Scheme = 7, 8
		apply(t, s, b)
		again := batch(in, 5, 8)
		for i := range again.Shares { // the user has switched
			again.Shares[i].NTime, again.Shares[i].Hash, again.Shares[i].Scheme = b.Shares[i].NTime, b.Shares[i].Hash, 9
		}
		if r := apply(t, s, again); r != (Result{Repeated: 4}) {
			t.Errorf("%+v", r)
		}
		var schemes []int64
		if err := s.db.Read(t.Context(), func(tx table.Tx) error {
			return rows(t.Context(), tx, "select scheme from "+dayTable(dayOf(b.Shares[0].NTime))+" order by ntime", nil, func(scan func(...any) error) error {
				var n int64
				err := scan(&n)
				schemes = append(schemes, n)
				return err
			})
		}); err != nil || !slices.Equal(schemes, []int64{0, 7, 8, 0}) {
			t.Errorf("schemes %v, %v", schemes, err)
		}
	})
}

// 25: the same header is credited once, whatever brings it again: a new epoch, another
// instance, another worker.
func TestCase25(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, in := registered(t, where, 1)
		other := instance(2)
		if _, err := s.Register(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		apply(t, s, batch(in, 1, 10))
		crash := batch(in, 1, 10)
		crash.From, crash.To = Position{Epoch: 1, Number: 10}, Position{Epoch: 2, Number: 10}
		upgrade := batch(in, 1, 11)
		upgrade.From, upgrade.To = Position{Epoch: 2, Number: 10}, Position{Epoch: 3, Number: 12}
		twice := upgrade.Shares[10]
		twice.Number = 12
		upgrade.Shares = append(upgrade.Shares, twice)
		elsewhere := batch(other, 1, 12)
		elsewhere.Workers = []Worker{{User, "alice", "x"}}
		for i, v := range []struct {
			b    *Batch
			want Result
		}{{crash, Result{Repeated: 10}}, {upgrade, Result{New: 1, Repeated: 11}}, {elsewhere, Result{New: 1, Repeated: 11}}} {
			if got := apply(t, s, v.b); got != v.want {
				t.Errorf("batch %d: %+v, want %+v", i, got, v.want)
			}
		}
		sum := total(t, s)
		if sum.Accepted != (Class{12, difficulty.ExactOf(12 * 42)}) || sum.Repeated != (Class{32, difficulty.ExactOf(32 * 42)}) {
			t.Errorf("accepted %v, repeated %v", sum.Accepted, sum.Repeated)
		}
		consistent(t, s)
	})
}

// 39: reading a journal again changes nothing, and the same shares from an import
// change no sum that is paid.
func TestCase39(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, in := registered(t, where, 1)
		var all []*Batch
		for n := int64(0); n < 5; n++ {
			all = append(all, batch(in, 20*n+1, 20*n+20))
			apply(t, s, all[n])
		}
		before := dump(t, s)
		for _, b := range all {
			var moved *CursorError
			if _, err := s.Apply(t.Context(), b); !errors.As(err, &moved) || *moved != (CursorError{b.From, Position{Epoch: 1, Number: 100}}) {
				t.Errorf("%v", err)
			}
		}
		if after := dump(t, s); after != before {
			t.Errorf("changed:\n%s\n%s", before, after)
		}
		paid := total(t, s)
		imported := instance(9)
		if _, err := s.Register(t.Context(), imported); err != nil {
			t.Fatal(err)
		}
		for _, b := range all {
			b.Instance = imported.ID
			apply(t, s, b)
		}
		sum := total(t, s)
		if sum.Repeated.Count != 100 {
			t.Errorf("%d repeated", sum.Repeated.Count)
		}
		if sum.Repeated = (Class{}); sum != paid {
			t.Errorf("%+v, was %+v", sum, paid)
		}
	})
}

// A batch that is refused, at its end, leaves the database as it was.
func TestRefusedBatch(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, in := registered(t, where, 1)
		apply(t, s, batch(in, 1, 10))
		before := dump(t, s)
		b := batch(in, 11, 20)
		b.Workers[0].Name = "new"
		b.Jobs = []Job{{Number: 11, ID: 1, Created: started}}
		b.Gaps = []Gap{{1, 3, 4, started, "nonsense"}}
		if _, err := s.Apply(t.Context(), b); err == nil {
			t.Fatal("taken")
		}
		wrong := batch(in, 11, 20)
		wrong.Shares[3].Worker = 1
		if _, err := s.Apply(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), "record 1/14: share with worker 1") {
			t.Errorf("%v", err)
		}
		if after := dump(t, s); after != before {
			t.Errorf("changed:\n%s\n%s", before, after)
		}
		b.Gaps = nil
		apply(t, s, b) // the numbers of names that were taken back are not used
		list, err := s.Sums(t.Context(), Query{By: ByWorker})
		if err != nil || len(list) != 2 || list[0].Name != "new" || list[0].Accepted.Count != 10 || list[1].Accepted.Count != 10 {
			t.Errorf("%+v, %v", list, err)
		}
		consistent(t, s)
	})
}

// proxy stands between client and PostgreSQL and cuts connections.
type proxy struct {
	listener net.Listener
	socket   string
	cut      func(message []byte) moment // said of each one that a client sends
	active   sync.WaitGroup
}

// moment is when a connection is cut, as a message of the client's has come.
type moment int

const (
	uncut moment = iota
	beforeMessage
	afterMessage
	afterAnswer // which is lost
)

// newProxy stands before the database and is there until the test ends. The URL is the
// database's by way of it.
func newProxy(t *testing.T, database string, cut func(message []byte) moment) (where string) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{socket: u.Query().Get("host") + "/.s.PGSQL.5432", cut: cut}
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(p.run)
	t.Cleanup(func() {
		p.listener.Close()
		done.Wait()
		p.active.Wait()
	})
	return "postgres://postgres@" + p.listener.Addr().String() + u.Path + "?sslmode=disable"
}

func (p *proxy) run() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", p.socket)
		if err != nil {
			client.Close()
			continue
		}
		var answer atomic.Bool // the next one is lost
		p.active.Go(func() {
			defer client.Close()
			defer server.Close()
			buf := make([]byte, 1<<16)
			for {
				n, err := server.Read(buf)
				if err != nil || answer.Load() {
					return
				}
				if _, err := client.Write(buf[:n]); err != nil {
					return
				}
			}
		})
		p.active.Go(func() {
			defer client.Close()
			defer server.Close()
			buf := make([]byte, 1<<16)
			for {
				n, err := client.Read(buf)
				if err != nil {
					return
				}
				switch p.cut(buf[:n]) {
				case beforeMessage:
					return
				case afterMessage:
					server.Write(buf[:n])
					return
				case afterAnswer:
					answer.Store(true)
				}
				if _, err := server.Write(buf[:n]); err != nil {
					return
				}
			}
		})
	}
}

// 40: the connection is cut at COMMIT a thousand times: each row is there once.
func TestCase40(t *testing.T) {
	const databases = 4 // side by side: what takes long is the way to a new connection
	for i := range databases {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			cutAtCommit(t, 1000/databases)
		})
	}
}

// cutAtCommit cuts connections so many times while batches are stored in a database.
func cutAtCommit(t *testing.T, cuts int64) {
	direct := postgres.Database(t)
	s, in := registered(t, direct, 1)
	apply(t, s, batch(in, 1, 3)) // the day's table is there
	// Every fourth commit goes through, so that there are more batches than cuts.
	most := cuts * 4 / 3
	var commits atomic.Int64
	where := newProxy(t, direct, func(message []byte) moment {
		if !strings.Contains(string(message), "commit\x00") {
			return uncut
		}
		if i := commits.Add(1); i <= most {
			return [...]moment{beforeMessage, afterMessage, afterAnswer, uncut}[i%4]
		}
		return uncut
	})
	cut := open(t, where)
	n := int64(3)
	credited := 3
	for commits.Load() < most {
		b := batch(in, n+1, n+3)
		for {
			r, err := cut.Apply(t.Context(), b)
			var moved *CursorError
			if errors.As(err, &moved) && moved.Present == b.To { // stored by a call that failed
				credited += 3
				break
			}
			if err == nil {
				credited += r.New
				break
			}
			if moved != nil {
				t.Fatal(err)
			}
		}
		n += 3
	}
	sum := total(t, s)
	if sum.Accepted.Count != n || credited != int(n) || sum.Repeated.Count != 0 {
		t.Errorf("%d of %d shares are there, %d told, %d twice", sum.Accepted.Count, n, credited, sum.Repeated.Count)
	}
	t.Logf("%d batches, cut %d times", n/3, most-most/4)
	consistent(t, s)
}

// 41: what a transaction stores that is held open is not passed over by who reads or
// sums meanwhile.
func TestCase41(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, in := registered(t, where, 1)
		s.foldLeast, s.foldMost = 0, 0 // folds in every transaction
		other := instance(2)
		if _, err := s.Register(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		apply(t, s, batch(in, 1, 10))
		held, release, first, second := make(chan struct{}), make(chan struct{}), make(chan error, 1), make(chan error, 1)
		slow := batch(in, 11, 30)
		slow.Jobs = []Job{{Number: 11, ID: 1, Created: started}}
		go func() {
			first <- s.db.Write(t.Context(), func(tx table.Tx) error {
				a := &application{Batch: slow, store: s, tx: tx}
				err := a.run(t.Context())
				close(held)
				<-release
				return err
			})
		}()
		<-held
		go func() {
			for n := int64(0); n < 5; n++ {
				b := batch(other, 20*n+1, 20*n+20)
				for i := range b.Shares {
					b.Shares[i].Hash[0] ^= 0xff
				}
				if _, err := s.Apply(t.Context(), b); err != nil {
					second <- err
					return
				}
			}
			second <- nil
		}()
		if strings.HasPrefix(where, "postgres") { // where others write meanwhile
			if err := <-second; err != nil {
				t.Fatal(err)
			}
			if sum := total(t, s); sum.Accepted.Count != 110 {
				t.Errorf("%d shares meanwhile", sum.Accepted.Count)
			}
			second <- nil
		}
		close(release)
		if err := errors.Join(<-first, <-second); err != nil {
			t.Fatal(err)
		}
		if sum := total(t, s); sum.Accepted.Count != 130 {
			t.Errorf("%d shares", sum.Accepted.Count)
		}
		consistent(t, s)
	})
}

// 42: twenty commands of other processes beside a daemon that writes: all are answered.
func TestCase42(t *testing.T) {
	if where := os.Getenv("STORE_COMMANDS"); where != "" {
		for range 5 {
			s, err := Open(t.Context(), where)
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = s.Status(t.Context())
			_, e := s.Sums(t.Context(), Query{By: ByWorker, Each: true})
			_, f := s.Shifts(t.Context(), ShiftQuery{})
			_, g := s.Check(t.Context(), nil)
			if err := errors.Join(err, e, f, g, s.Close()); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	each(t, func(t *testing.T, where string) {
		s, in := registered(t, where, 1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			var list sync.WaitGroup
			var mu sync.Mutex
			var all error
			for range 20 {
				list.Go(func() {
					c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCase42$")
					c.Env = append(os.Environ(), "STORE_COMMANDS="+where)
					if out, err := c.CombinedOutput(); err != nil {
						mu.Lock()
						defer mu.Unlock()
						all = errors.Join(all, fmt.Errorf("%w: %s", err, out))
					}
				})
			}
			list.Wait()
			cancel()
			done <- all
		}()
		n := int64(0)
		for ctx.Err() == nil {
			b := batch(in, n+1, n+50)
			b.Jobs = []Job{{Number: n + 1, ID: uint64(n + 1), Created: started + n}}
			apply(t, s, b)
			n += 50
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if sum := total(t, s); sum.Accepted.Count != n {
			t.Errorf("%d shares of %d", sum.Accepted.Count, n)
		}
	})
}

func tables(t *testing.T, s *Store) (names []string) {
	t.Helper()
	query := "select name from sqlite_master where name like 'shares%'"
	if _, ok := s.db.(*pgdb.DB); ok {
		query = "select relname from pg_class where relname like 'shares%' and relkind in ('r', 'p')"
	}
	if err := s.db.Read(t.Context(), func(tx table.Tx) error {
		return rows(t.Context(), tx, query, nil, func(scan func(...any) error) error {
			var name string
			err := scan(&name)
			names = append(names, name)
			return err
		})
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// 43: tables of days are there ahead, a clock that is a year ahead is no obstacle, and
// old days are dropped whole, behind a reader's back; what was in them is neither
// missed in sums nor credited again.
func TestCase43(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, in := registered(t, where, 1)
		first := batch(in, 1, 10)
		first.Jobs = []Job{{Number: 1, ID: 1, NTime: started / 1_000_000, Created: started}}
		for i := range first.Shares {
			first.Shares[i].Job = 1
		}
		apply(t, s, first)
		if got, want := tables(t, s), []string{"shares", "shares_20260714", "shares_20260715", "shares_20260716"}; !slices.Equal(got, want) {
			t.Errorf("tables %v, want %v", got, want)
		}
		const year = 365 * 86_400
		later := batch(in, 11, 20)
		for i := range later.Shares {
			later.Shares[i].NTime += year
			later.Shares[i].Received += year * 1_000_000
		}
		if r := apply(t, s, later); r.New != 10 {
			t.Errorf("a year later: %+v", r)
		}
		want := total(t, s)

		// Somebody reads while days are dropped; others read and write on.
		reading, read, dropped := make(chan struct{}), make(chan struct{}), make(chan error, 2)
		go func() {
			dropped <- s.db.Read(t.Context(), func(tx table.Tx) error {
				n := 0
				err := rows(t.Context(), tx, "select ntime from shares_20260714", nil, func(scan func(...any) error) error { n++; return nil })
				if e := rows(t.Context(), tx, "select ntime from shares", nil, func(scan func(...any) error) error { return nil }); err == nil {
					err = e
				}
				close(reading)
				<-read
				if n != 10 {
					err = errors.Join(err, fmt.Errorf("%d shares read", n))
				}
				return err
			})
		}()
		<-reading
		go func() { dropped <- s.Retain(t.Context(), started/1_000_000+5*86_400) }()
		if r := apply(t, s, batch(in, 21, 30)); r.New+r.Expired != 10 {
			t.Errorf("meanwhile: %+v", r)
		} else if r.New > 0 {
			want = total(t, s)
		}
		consistent(t, s)
		close(read)
		if err := errors.Join(<-dropped, <-dropped); err != nil {
			t.Fatal(err)
		}
		if got, want := tables(t, s), []string{"shares", "shares_20270714", "shares_20270715", "shares_20270716"}; !slices.Equal(got, want) {
			t.Errorf("tables %v, want %v", got, want)
		}
		if got := total(t, s); got != want {
			t.Errorf("sums %+v, were %+v", got, want)
		}
		again := batch(in, 31, 40)
		for i := range again.Shares {
			again.Shares[i].NTime, again.Shares[i].Hash = first.Shares[i].NTime, first.Shares[i].Hash
		}
		if r := apply(t, s, again); r != (Result{Expired: 10}) {
			t.Errorf("of a dropped day: %+v", r)
		}
		if got := total(t, s); got != want {
			t.Errorf("sums %+v, were %+v", got, want)
		}
		consistent(t, s)
		if list, _, err := s.Status(t.Context()); err != nil || list[0].Expired < 10 {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// 43: who reads for too long is named.
func TestCase43Reader(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, in := registered(t, where, 1)
		apply(t, s, batch(in, 1, 10))
		want := "some program has been reading the database for long"
		switch db := s.db.(type) {
		case *pgdb.DB:
			db.Long, want = 0, "a transaction of postgres (ckdb, process "
		case *sqlite.DB:
			db.Long = 1000
			if _, warnings, err := s.Status(t.Context()); err != nil || len(warnings) != 1 {
				t.Errorf("%q, %v", warnings, err)
			}
		}
		if err := s.db.Read(t.Context(), func(tx table.Tx) error {
			if err := rows(t.Context(), tx, "select network from ckdb", nil, func(func(...any) error) error { return nil }); err != nil {
				return err
			}
			_, warnings, err := s.Status(t.Context())
			if err == nil && (len(warnings) != 1 || !strings.Contains(warnings[0], want)) {
				t.Errorf("%q", warnings)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	})
}

// 52: an account has a limited number of workers; all further names are one worker,
// whose shares count.
func TestCase52(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, in := registered(t, where, 1)
		const names, limit = 100_000, 10_000
		n := int64(0)
		for range 10 {
			b := batch(in, n+1, n+names/10)
			b.Workers = b.Workers[:0]
			for i := range b.Shares {
				b.Workers = append(b.Workers, Worker{Address, "bcrt1qexample", fmt.Sprintf("%x", b.Shares[i].Hash)})
				b.Shares[i].Worker = int32(i)
			}
			apply(t, s, b)
			n = b.To.Number
		}
		if len(s.workers) > limit+1 {
			t.Errorf("%d names in memory", len(s.workers))
		}
		s.Close()
		s = open(t, where) // it knows them again
		b := batch(in, n+1, n+2)
		b.Workers = []Worker{{Address, "bcrt1qexample", "one more"}, {Address, "bcrt1qother", "rig"}}
		b.Shares[1].Worker = 1
		apply(t, s, b)
		list, err := s.Sums(t.Context(), Query{By: ByWorker, Days: true, Account: "BCRT1QEXAMPLE"})
		if err != nil || len(list) != limit+1 || list[0].Name != Rest || list[0].Accepted.Count != names-limit+1 {
			t.Errorf("%d workers, %d shares of the rest, %v", len(list), list[0].Accepted.Count, err)
		}
		if sum := total(t, s); sum.Accepted != (Class{names + 2, difficulty.ExactOf(42 * (names + 2))}) {
			t.Errorf("%+v", sum.Accepted)
		}
		if list, err = s.Sums(t.Context(), Query{By: ByAccount}); err != nil || len(list) != 2 || list[0].Accepted.Count != names+1 {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// 53: clocks that jump change neither sums nor shifts: jobs are in the order of the
// journal.
func TestCase53(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, in := registered(t, where, 1)
		clock := []int64{0, 7200, -86_400, 86_400, -7200, 0}
		var at Position
		want := map[string]int64{}
		for i, off := range clock {
			n := int64(200*i + 1)
			b := batch(in, n, n+199)
			b.From, b.To = at, Position{Epoch: int64(i/2 + 1), Number: n + 199} // restarts with another clock
			at = b.To
			for k := range b.Shares {
				v := &b.Shares[k]
				if k%4 == 0 {
					b.Jobs = append(b.Jobs, Job{Number: v.Number, ID: uint64(1000 - n - int64(k)), Created: v.Received + off*1_000_000})
				}
				v.Job = b.Jobs[len(b.Jobs)-1].ID
				v.Received += off * 1_000_000
				v.NTime += 7000
				want[fmt.Sprint(1+i/2)]++ // a hundred jobs in each epoch
			}
			apply(t, s, b)
		}
		list, err := s.Shifts(t.Context(), ShiftQuery{})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int64{}
		for _, v := range list {
			got[fmt.Sprint(v.Number)] = v.Accepted.Count
		}
		if !maps.Equal(got, want) {
			t.Errorf("shifts %v, want %v", got, want)
		}
		if sum := total(t, s); sum.Accepted.Count != int64(200*len(clock)) {
			t.Errorf("%d shares", sum.Accepted.Count)
		}
		consistent(t, s)
	})
}
