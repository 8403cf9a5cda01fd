package forward

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/journalwriter"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/journal"
)

// pool writes a journal.
type pool struct {
	t      testing.TB
	number byte
	dir    string
	id     string
	w      *journalwriter.Writer

	shares uint64
	work   difficulty.Exact
}

const reader = "forward"

func startPool(t testing.TB, number byte) *pool {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "journal")
	w, err := journalwriter.Open(journalwriter.Options{
		Dir: dir, RingDirs: []string{"/dev/shm"}, Name: fmt.Sprint("pool", number), Network: "regtest", Program: "ckpool test",
		Reasons: []string{"accepted", "stale"}, Schemes: []string{"pplns", "solo"}, Loops: 1, Sync: 5 * time.Millisecond, SegmentSize: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if s := w.Status(); s.LostShares > 0 {
			t.Errorf("the test was too fast for the journal: %d shares are lost", s.LostShares)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	h, err := journal.Describe(dir)
	if err != nil {
		// The first segment comes with the first record.
		w.Worker(0, &journal.Worker{Time: time.Now().UnixMicro(), Client: 1}, miner(number, 0))
		w.Flush(0)
		until(t, "a journal", func() bool {
			h, err = journal.Describe(dir)
			return err == nil
		})
	}
	return &pool{t: t, number: number, dir: dir, id: h.Instance, w: w}
}

func miner(pool byte, n uint64) *journal.Miner {
	user := fmt.Sprintf("user%d", n%7)
	return &journal.Miner{User: user, Worker: fmt.Sprintf("%s.%d-%d", user, pool, n%50), Agent: fmt.Sprint("agent/", n%3), Address: "10.0.0.1"}
}

// mine tells n shares.
func (p *pool) mine(n int) {
	for range n {
		p.shares++
		now := time.Now()
		s := &journal.Share{
			Time: now.UnixMicro(), Extranonce1: []byte{p.number}, Extranonce2: []byte{1}, NTime: uint32(now.Unix()),
			Difficulty: float64(p.shares%1000) + 0.25, Credit: float64(p.shares%1000) + 0.25, Scheme: uint8(p.shares % 2),
		}
		for i := range s.Hash[:28] {
			s.Hash[i] = 0xff
		}
		binary.BigEndian.PutUint64(s.Hash[:], p.shares)
		s.Hash[8] = p.number
		p.work = p.work.Add(difficulty.ExactOf(s.Credit))
		p.w.Share(0, s, miner(p.number, p.shares))
	}
	p.w.Flush(0)
}

// mineFor tells so many shares a second for a time, and those of a second at least, which
// take a busy machine longer.
func (p *pool) mineFor(d time.Duration, rate int) {
	told := 0
	for end := time.Now().Add(d); told < rate || time.Now().Before(end); told += rate / 50 {
		p.mine(rate / 50)
		<-time.After(20 * time.Millisecond)
	}
}

// running is what runs until it is stopped.
type running struct {
	cancel func()
	done   chan error
	conn   *nats.Conn
}

func (r *running) stop(t testing.TB) {
	t.Helper()
	r.cancel()
	err := <-r.done
	r.done <- err
	if err != nil {
		t.Error(err)
	}
	r.conn.Close()
}

func run(t testing.TB, c *nats.Conn, what func(context.Context) error) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{cancel, make(chan error, 1), c}
	go func() { r.done <- what(ctx) }()
	t.Cleanup(func() { r.stop(t) })
	return r
}

// database is where shares come to.
type database struct {
	t     testing.TB
	store *store.Store
	log   *told
}

func openDatabase(t testing.TB) *database {
	t.Helper()
	s, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	d := &database{t, s, &told{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("told:\n%s", d.log)
		}
	})
	return d
}

func (d *database) receive(url string) (*Receiver, *running) {
	d.t.Helper()
	c, err := Connect(url, "", "receiver", d.log.tell)
	if err != nil {
		d.t.Fatal(err)
	}
	r := &Receiver{Conn: c, Store: d.store, Events: d.log.tell}
	return r, run(d.t, c, r.Run)
}

func (p *pool) forward(url string, log *told) (*Forwarder, *running) {
	p.t.Helper()
	c, err := Connect(url, "", "forwarder", log.tell)
	if err != nil {
		p.t.Fatal(err)
	}
	f := &Forwarder{Dir: p.dir, Reader: reader, Conn: c, MaxBytes: 64 << 20, Events: log.tell}
	return f, run(p.t, c, f.Run)
}

// stored are the shares of a pool in the database.
func (d *database) stored(p *pool) store.Sum {
	d.t.Helper()
	list, err := d.store.Sums(d.t.Context(), store.Query{By: store.ByPool})
	if err != nil {
		d.t.Fatal(err)
	}
	for _, r := range list {
		if r.Pool == fmt.Sprint("pool", p.number) {
			return r.Sum
		}
	}
	return store.Sum{}
}

// complete waits until the database has all shares of the pools, each once, and
// journals know.
func (d *database) complete(pools ...*pool) {
	d.t.Helper()
	for _, p := range pools {
		until(d.t, fmt.Sprintf("%d shares of pool %d", p.shares, p.number), func() bool { return d.stored(p).Accepted.Count >= int64(p.shares) })
		s := d.stored(p)
		if s.Accepted.Count != int64(p.shares) || s.Accepted.Work != p.work || s.Repeated.Count != 0 {
			d.t.Errorf("pool %d: %d shares of difficulty %s are stored, %d twice; want %d of %s",
				p.number, s.Accepted.Count, s.Accepted.Work, s.Repeated.Count, p.shares, p.work)
		}
		until(d.t, "a cursor at the end of the journal", func() bool {
			c, err := journal.ReadCursor(p.dir, reader)
			if err != nil {
				d.t.Fatal(err)
			}
			b, err := journal.Behind(p.dir, c.Position)
			return err == nil && c.Instance == p.id && b.Records == 0
		})
	}
	d.consistent()
}

func (d *database) consistent() {
	d.t.Helper()
	if differences, err := d.store.Check(d.t.Context(), nil); err != nil || len(differences) > 0 {
		d.t.Errorf("%v %q", err, differences)
	}
	list, _, err := d.store.Status(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	for _, s := range list {
		if len(s.Gaps) > 0 {
			d.t.Errorf("%s has gaps: %v", s.Name, s.Gaps)
		}
	}
}

// Whatever becomes of what is between two journals and the database while shares
// come, in the end the database has each share once.
func TestFaults(t *testing.T) {
	type world struct {
		*broker
		*database
		*link
		pools     []*pool
		forwarder *running // of the first pool
		receiver  *running
		published *nats.Subscription // hears the batches of the first pool
	}
	for _, tt := range []struct {
		name  string
		fault func(t *testing.T, w *world)
		told  string
	}{
		{"nothing", func(t *testing.T, w *world) {}, ""},
		{"server killed", func(t *testing.T, w *world) {
			w.kill()
			<-time.After(500 * time.Millisecond)
			w.start()
		}, "Connected again"},
		{"store deleted under a running server", func(t *testing.T, w *world) {
			if err := os.RemoveAll(w.broker.dir); err != nil {
				t.Fatal(err)
			}
			<-time.After(300 * time.Millisecond)
			w.kill()
			os.RemoveAll(w.broker.dir)
			w.start()
		}, "Connected again"},
		{"stream deleted", func(t *testing.T, w *world) {
			ctx := t.Context()
			s := w.stream(w.pools[0].id)
			c := connect(t, w.broker.url())
			m, err := c.RequestWithContext(ctx, "$JS.API.STREAM.DELETE."+s.CachedInfo().Config.Name, nil)
			if err != nil || !strings.Contains(string(m.Data), `"success":true`) {
				t.Fatalf("%v, %v", m, err)
			}
		}, ""},
		{"forwarder ended and begun", func(t *testing.T, w *world) {
			w.forwarder.stop(t)
			<-time.After(200 * time.Millisecond)
			w.pools[0].forward(w.link.url(), w.log)
		}, ""},
		{"receiver ended and begun", func(t *testing.T, w *world) {
			w.receiver.stop(t)
			<-time.After(700 * time.Millisecond)
			w.receive(w.broker.url())
		}, ""},
		{"two receivers", func(t *testing.T, w *world) { w.receive(w.broker.url()) }, ""},
		{"link cut", func(t *testing.T, w *world) {
			w.set(true)
			<-time.After(time.Second)
			w.set(false)
		}, "Connection to NATS is lost"},
		{"messages published twice", func(t *testing.T, w *world) {
			c := connect(t, w.broker.url())
			for copies := range 3 {
				patience := time.Minute
				if copies > 0 {
					patience = 5 * time.Second
				}
				m, err := w.published.NextMsg(patience)
				if copies > 0 && errors.Is(err, nats.ErrTimeout) {
					return // all that there was
				}
				if err == nil {
					err = c.Publish(m.Subject, m.Data)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := &world{broker: startBroker(t), database: openDatabase(t)}
			w.link = startLink(t, w.address)
			w.pools = []*pool{startPool(t, 1), startPool(t, 2)}
			if tt.name == "messages published twice" {
				var err error
				if w.published, err = connect(t, w.broker.url()).SubscribeSync(batchSubject(w.pools[0].id)); err != nil {
					t.Fatal(err)
				}
			}
			_, w.receiver = w.receive(w.broker.url())
			_, w.forwarder = w.pools[0].forward(w.link.url(), w.log)
			w.pools[1].forward(w.link.url(), w.log)
			var group sync.WaitGroup
			for _, p := range w.pools {
				group.Go(func() { p.mineFor(3*time.Second, 3000) })
			}
			until(t, "shares of both", func() bool { // before the fault
				list, _, err := w.store.Status(t.Context())
				return err == nil && len(list) == 2 && list[0].Shares > 500 && list[1].Shares > 500
			})
			tt.fault(t, w)
			group.Wait()
			w.complete(w.pools...)
			until(t, tt.told, func() bool { return strings.Contains(w.log.String(), tt.told) })
		})
	}
}

// 36: what a broker has acknowledged is gone, all of it, its end, or one message of
// many. The journal keeps it until the database has it. TestCase36Database in package
// accounting is of a database that is away.
func TestCase36Broker(t *testing.T) {
	for _, tt := range []struct {
		name string
		lose func(t *testing.T, b *broker, p *pool)
		told string
	}{
		{"all that is in the store", func(t *testing.T, b *broker, p *pool) {
			b.kill()
			if err := os.RemoveAll(b.dir); err != nil {
				t.Fatal(err)
			}
			b.start()
		}, "the stream has lost what was in it"},
		{"all messages", func(t *testing.T, b *broker, p *pool) {
			if err := b.stream(p.id).Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, "the stream has lost what was in it"},
		{"one message", func(t *testing.T, b *broker, p *pool) {
			s := b.stream(p.id)
			if err := s.DeleteMsg(t.Context(), s.CachedInfo().State.FirstSeq+1); err != nil {
				t.Fatal(err)
			}
		}, "the stream has lost some of what was in it"},
		{"the last messages, and new ones have their numbers", func(t *testing.T, b *broker, p *pool) {
			b.kill()
			if err := os.RemoveAll(b.dir); err != nil {
				t.Fatal(err)
			}
			b.start()
			p.mine(10)
		}, "the stream has lost what was in it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, d, p := startBroker(t), openDatabase(t), startPool(t, 1)
			_, receiver := d.receive(b.url())
			f, _ := p.forward(b.url(), d.log)
			p.mine(100)
			d.complete(p)
			safe, err := journal.ReadCursor(p.dir, reader)
			if err != nil {
				t.Fatal(err)
			}
			receiver.stop(t)
			published := uint64(0)
			until(t, "many messages", func() bool {
				p.mine(1000)
				until(t, "the journal", func() bool { return p.w.Status().UnsafeShares == 0 }) // which the disk may hold up
				published = f.Progress().Sent
				return b.stream(p.id).CachedInfo().State.Msgs > 5
			})
			until(t, "all to be acknowledged", func() bool { return f.Progress().Sent == p.shares-100 })
			if c, err := journal.ReadCursor(p.dir, reader); err != nil || c.Position != safe.Position {
				t.Fatalf("%v, cursor is at %v, the database at %v: %d published shares are let go of", err, c.Position, safe.Position, published)
			}
			tt.lose(t, b, p)
			d.receive(b.url())
			d.complete(p)
			if !strings.Contains(d.log.String(), tt.told) {
				t.Errorf("%q was not told", tt.told)
			}
		})
	}
}

// Of three servers that have the stream the one that leads dies with all that it has:
// shares come on by the other two, and it gets back what it has lost.
func TestCluster(t *testing.T) {
	t.Parallel()
	brokers, url := startCluster(t)
	d, p := openDatabase(t), startPool(t, 1)
	d.receive(url)
	c, err := Connect(url, "", "forwarder", d.log.tell)
	if err != nil {
		t.Fatal(err)
	}
	f := &Forwarder{Dir: p.dir, Reader: reader, Conn: c, Replicas: 3, MaxBytes: 64 << 20, Events: d.log.tell}
	run(t, c, f.Run)
	p.mine(1000)
	d.complete(p)
	leader := brokers[0].stream(p.id).CachedInfo().Cluster.Leader
	for i, b := range brokers {
		if b.peers[0] != leader {
			continue
		}
		b.kill()
		if err := os.RemoveAll(b.dir); err != nil {
			t.Fatal(err)
		}
		p.mineFor(500*time.Millisecond, 2000)
		d.complete(p)
		b.start()
		until(t, "the stream on all three", func() bool {
			info, err := brokers[(i+1)%3].stream(p.id).Info(t.Context())
			return err == nil && info.Cluster.Leader != "" && len(info.Cluster.Replicas) == 2 &&
				!slices.ContainsFunc(info.Cluster.Replicas, func(r *jetstream.PeerInfo) bool { return r.Offline || !r.Current })
		})
		p.mine(1000)
		d.complete(p)
		return
	}
	t.Errorf("none of the servers is %q, which leads", leader)
}

// A database that was restored from a backup gets again what it does not have any more.
func TestBackup(t *testing.T) {
	t.Parallel()
	b, d, p := startBroker(t), openDatabase(t), startPool(t, 1)
	_, receiver := d.receive(b.url())
	p.forward(b.url(), d.log)
	p.mine(500)
	d.complete(p)
	receiver.stop(t)
	old := openDatabase(t) // it has nothing
	old.receive(b.url())
	old.complete(p)
	if !strings.Contains(d.log.String(), "has a backup been restored?") {
		t.Error("it was not told")
	}
}

// A pool of another network is refused at both ends by name, and nothing is stored.
func TestOtherNetwork(t *testing.T) {
	t.Parallel()
	b, d, p := startBroker(t), openDatabase(t), startPool(t, 1)
	if _, err := d.store.Register(t.Context(), store.Instance{ID: [16]byte{1}, Name: "first", Network: "main"}); err != nil {
		t.Fatal(err)
	}
	r, _ := d.receive(b.url())
	p.mine(10)
	f := &Forwarder{Dir: p.dir, Reader: reader, Conn: connect(t, b.url()), Events: d.log.tell}
	err := f.Run(t.Context())
	if !errors.Is(err, store.ErrNetwork) || !strings.Contains(err.Error(), "pool pool1 is on regtest, the database has shares of main") {
		t.Error(err)
	}
	if list := r.Progress(); len(list) != 1 || !strings.Contains(list[0].Refused, "regtest") || list[0].Known {
		t.Errorf("%+v", list)
	}
	if list, _, err := d.store.Status(t.Context()); err != nil || len(list) != 1 || list[0].Shares != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

// What a later release has written is refused by its version, and stays where it is.
func TestLater(t *testing.T) {
	t.Parallel()
	b, d, p := startBroker(t), openDatabase(t), startPool(t, 1)
	r, receiver := d.receive(b.url())
	p.forward(b.url(), d.log)
	p.mine(100)
	d.complete(p)
	receiver.stop(t)
	s := b.stream(p.id)
	c := connect(t, b.url())
	if err := c.Publish(batchSubject(p.id), []byte{version + 1, 1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	c.Flush()
	p.mine(100)
	r, _ = d.receive(b.url())
	const want = "a batch has version 2, this ckdb knows 1: update it"
	until(t, "the refusal", func() bool {
		list := r.Progress()
		return len(list) == 1 && list[0].Refused == want && strings.Contains(d.log.String(), want)
	})
	if n := d.stored(p).Accepted.Count; n != 100 {
		t.Errorf("%d shares", n)
	}
	// As a later release takes it away.
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.complete(p)

	m, err := c.Request(askSubject(p.id), []byte(`{"version": 2, "where": 5}`), time.Minute)
	if err != nil || !strings.Contains(string(m.Data), "a question has version 2, this ckdb knows 1: update it") {
		t.Errorf("%v, %v", m, err)
	}
}

// What is behind is seen at both ends while the server is away, and nothing is let go
// of.
func TestBehind(t *testing.T) {
	t.Parallel()
	b, d, p := startBroker(t), openDatabase(t), startPool(t, 1)
	r, _ := d.receive(b.url())
	f, _ := p.forward(b.url(), d.log)
	p.mine(100)
	d.complete(p)
	b.kill()
	p.mine(5000)
	until(t, "trouble and what is behind", func() bool {
		q := f.Progress()
		return q.Trouble == "NATS cannot be reached" && q.Behind.Shares == 5000 && q.Behind.Since > 0
	})
	b.start()
	d.complete(p)
	until(t, "the forwarder to know", func() bool {
		q := f.Progress()
		return q.Sent == 0 && q.Behind == journal.Backlog{} && q.Trouble == ""
	})
	until(t, "the receiver to know", func() bool {
		list := r.Progress()
		return len(list) == 1 && list[0].Shares == p.shares && list[0].Behind == 0 && list[0].Waiting == 0
	})
	if list := slices.DeleteFunc(strings.Split(d.log.String(), "\n"), func(s string) bool { return !strings.Contains(s, "lost") }); len(list) != 2 {
		t.Errorf("each end has to tell once that the connection is lost: %q", list)
	}
}
