package sharelog

import (
	"cmp"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"time"

	"github.com/ckpool/ckpool/difficulty"
)

// UserStats is what users/<name> holds.
type UserStats struct {
	Stats
	Workers    int64         // connected miners
	Authorised time.Time     // first login; zero: never
	Worker     []WorkerStats // the user's
	Remotes    []RemoteMark  // what is counted of other pools
}

// RemoteMark is up to which record of another pool's journal shares are counted in a file.
type RemoteMark struct {
	Pool          string // what tells its journal from others
	Epoch, Number uint64 // of the last record
}

// putRemotes adds remotes, an object: epoch/number by pool.
func putRemotes(o *Object, list []RemoteMark) {
	if len(list) == 0 {
		return
	}
	marks := NewObject(nil)
	for _, m := range list {
		marks.String(m.Pool, fmt.Sprintf("%d/%d", m.Epoch, m.Number))
	}
	o.Raw("remotes", marks.Close())
}

func parseRemotes(f fields) (list []RemoteMark) {
	marks, _ := parseFields(f["remotes"])
	for pool := range marks {
		m := RemoteMark{Pool: pool}
		if n, _ := fmt.Sscanf(marks.text(pool), "%d/%d", &m.Epoch, &m.Number); n == 2 {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b RemoteMark) int { return cmp.Compare(a.Pool, b.Pool) })
	return list
}

// WorkerStats are one worker's part of a user's file, or the whole file
// workers/<name> of versions until 2017.
type WorkerStats struct {
	Name string // user name included
	Stats
	Started   time.Time // when the first of its connected miners connected; zero: none is
	UserAgent string    // of its miner, Other where several are connected
	Rejects
}

// Rejects are a worker's shares since it was first seen, by what was said of
// them.
type Rejects struct {
	Accepted int64         // shares
	Counts   []RejectCount // by reason
	Last     string        // reason; empty: nothing was ever refused
	LastTime time.Time     // zero: likewise
}

// RejectCount is how many submits were refused for a reason.
type RejectCount struct {
	Reason string // as the file names it
	Count  int64  // submits
}

// Put adds accepted_shares, rejects (an object: reason, count), lastreject and
// lastrejected (unix seconds).
func (r *Rejects) Put(o *Object) {
	counts := NewObject(nil)
	for _, c := range r.Counts {
		counts.Int(c.Reason, c.Count)
	}
	o.Int("accepted_shares", r.Accepted)
	o.Raw("rejects", counts.Close())
	o.String("lastreject", r.Last)
	o.Int("lastrejected", unix(r.LastTime))
}

func parseRejects(f fields) Rejects {
	r := Rejects{Accepted: f.int("accepted_shares"), Last: f.text("lastreject"), LastTime: f.time("lastrejected")}
	counts, _ := parseFields(f["rejects"])
	for reason := range counts {
		r.Counts = append(r.Counts, RejectCount{reason, counts.int(reason)})
	}
	slices.SortFunc(r.Counts, func(a, b RejectCount) int { return cmp.Compare(a.Reason, b.Reason) })
	return r
}

// Stats are what users and workers have in common.
type Stats struct {
	Hashrate   [5]float64 // hashes per second over 1, 5 minutes, 1 hour, 1, 7 days
	LastShare  time.Time  // zero: never
	Shares     float64    // sum of credited difficulty, never reset
	BestShare  float64    // of the round
	BestEver   float64    // difficulty of the best share since it was first seen
	LastUpdate time.Time  // when the hash rates were true
}

func hashrateKeys() [5]string {
	return [...]string{"hashrate1m", "hashrate5m", "hashrate1hr", "hashrate1d", "hashrate7d"}
}

// PutHashrates adds the hash rates as the files show them.
func (s *Stats) PutHashrates(o *Object) {
	for i, key := range hashrateKeys() {
		o.String(key, difficulty.FormatSI(s.Hashrate[i]))
	}
}

func (s *Stats) putBest(o *Object) {
	o.Whole("shares", s.Shares)
	o.Real("bestshare", s.BestShare, 16)
	o.Whole("bestever", s.BestEver)
}

// putExact adds the keys that come after the known ones.
func (s *Stats) putExact(o *Object) {
	for i, key := range hashrateKeys() {
		putExact(o, key, s.Hashrate[i])
	}
	putExact(o, "shares", s.Shares)
	putExact(o, "bestshare", s.BestShare)
	putExact(o, "bestever", s.BestEver)
}

func (u *UserStats) put(o *Object) {
	u.PutHashrates(o)
	o.Int("lastshare", unix(u.LastShare))
	o.Int("workers", u.Workers)
	u.putBest(o)
	o.Int("authorised", unix(u.Authorised))
}

// Line is the user's JSON object on one line, without workers and without
// additional keys.
func (u *UserStats) Line() string {
	o := NewObject(nil)
	u.put(&o)
	return string(o.Close())
}

// Append appends the content of the file.
func (u *UserStats) Append(b []byte) []byte {
	return u.append(b, u.workers(), func(b []byte) []byte { return b })
}

func (u *UserStats) workers() iter.Seq[*WorkerStats] {
	return func(yield func(*WorkerStats) bool) {
		for i := range u.Worker {
			if !yield(&u.Worker[i]) {
				return
			}
		}
	}
}

// append appends the content of the file with the given workers. After each of
// them flush may take what there is.
func (u *UserStats) append(b []byte, workers iter.Seq[*WorkerStats], flush func([]byte) []byte) []byte {
	o := newIndented(b, "\n ")
	u.put(&o)
	o.key("worker")
	o.buf = append(o.buf, '[')
	first := true
	for w := range workers {
		if !first {
			o.buf = append(o.buf, ',')
		}
		first = false
		o.buf = append(o.buf, "\n  "...)
		o.buf = flush(w.append(o.buf))
	}
	if !first {
		o.buf = append(o.buf, "\n "...)
	}
	o.buf = append(o.buf, ']')
	u.putExact(&o)
	o.Int("lastupdate", unix(u.LastUpdate))
	putRemotes(&o, u.Remotes)
	return append(o.Close(), '\n')
}

func (w *WorkerStats) append(b []byte) []byte {
	o := newIndented(b, "\n   ")
	o.String("workername", w.Name)
	w.PutHashrates(&o)
	o.Int("lastshare", unix(w.LastShare))
	o.Int("started", unix(w.Started))
	w.putBest(&o)
	o.String("useragent", w.UserAgent)
	w.putExact(&o)
	w.Rejects.Put(&o)
	return o.Close()
}

// Write replaces the file at path.
func (u *UserStats) Write(path string) error { return u.WriteWith(path, u.workers()) }

// WriteWith is [UserStats.Write] with other workers than those of u, which are
// asked for one at a time: however many there are, they need not be in memory
// together.
func (u *UserStats) WriteWith(path string, workers iter.Seq[*WorkerStats]) error {
	const piece = 64 << 10
	return replaceFile(path, false, func(w io.Writer) error {
		var err error
		b := u.append(nil, workers, func(b []byte) []byte {
			if len(b) < piece {
				return b
			}
			if err == nil {
				_, err = w.Write(b)
			}
			return b[:0]
		})
		if err == nil {
			_, err = w.Write(b)
		}
		return err
	})
}

// ReadUser reads a user's file of any version. Files without a time of their
// own get the file's.
func ReadUser(path string) (UserStats, error) {
	data, modified, err := readFile(path)
	if err != nil {
		return UserStats{}, err
	}
	u, err := ParseUser(data)
	if err != nil {
		return u, fmt.Errorf("%s: %w", path, err)
	}
	if u.LastUpdate.IsZero() {
		u.LastUpdate = modified
		for i := range u.Worker {
			u.Worker[i].LastUpdate = modified
		}
	}
	return u, nil
}

// ReadWorker reads a file of the directory workers, which versions until 2017
// kept beside users. The name of the file is the worker's; the caller sets it.
func ReadWorker(path string) (WorkerStats, error) {
	data, modified, err := readFile(path)
	if err != nil {
		return WorkerStats{}, err
	}
	f, err := parseFields(data)
	if err != nil {
		return WorkerStats{}, fmt.Errorf("%s: %w", path, err)
	}
	w := parseWorker(f)
	if w.LastUpdate.IsZero() {
		w.LastUpdate = modified
	}
	return w, nil
}

func readFile(path string) ([]byte, time.Time, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	return data, info.ModTime(), nil
}

// ParseUser is [ReadUser] for the content of the file.
func ParseUser(data []byte) (UserStats, error) {
	f, err := parseFields(data)
	if err != nil {
		return UserStats{}, err
	}
	u := UserStats{Stats: parseStats(f), Workers: f.int("workers"), Authorised: f.time("authorised"), Remotes: parseRemotes(f)}
	for _, w := range f.list("worker") {
		worker := parseWorker(w)
		worker.LastUpdate = u.LastUpdate
		u.Worker = append(u.Worker, worker)
	}
	return u, nil
}

func parseWorker(f fields) WorkerStats {
	started := f.time("started")
	if started.IsZero() {
		started = f.time("connected") // its name for a while
	}
	return WorkerStats{f.text("workername"), parseStats(f), started, f.text("useragent"), parseRejects(f)}
}

func parseStats(f fields) Stats {
	var s Stats
	for i, key := range hashrateKeys() {
		s.Hashrate[i] = f.hashrate(key)
	}
	s.LastShare = f.time("lastshare")
	s.Shares = f.exact("shares")
	s.BestShare = f.exact("bestshare")
	s.BestEver = max(f.exact("bestever"), s.BestShare)
	s.LastUpdate = f.time("lastupdate")
	return s
}

func (f fields) time(key string) time.Time {
	if s := f.int(key); s > 0 {
		return time.Unix(s, 0)
	}
	return time.Time{}
}

// unix is t in unix seconds, 0 for never.
func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
