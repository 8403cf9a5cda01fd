package reference

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strconv"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/accounting"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/source"
)

// Import stores what the request logs of a pool say. Make it with its exported fields.
// It goes on where the last import of this name ended, or was stopped or killed.
type Import struct {
	Dir     string // with the logs, or with directories of them
	Prefix  string // of the logs' names, before the hour; "" where there is one only
	Name    string // of the pool in the database; "" for the prefix
	Network string // main, test, signet, regtest
	Store   *store.Store

	// Damaged is told of each line that is left out; nil tells nobody.
	Damaged func(Damage)
	// Progress is told now and then how far it is; nil tells nobody.
	Progress func(Summary)

	most    int // records in one transaction, 0: maxRecords; others in tests
	summary Summary
	batch   batch
	done    int64 // bytes of files before the one that is read
}

// Damage is a line that is left out.
type Damage struct {
	File string
	Line int64
	Err  error
}

func (d Damage) String() string { return fmt.Sprintf("%s:%d: %v", d.File, d.Line, d.Err) }

// Summary is what an import read and stored.
type Summary struct {
	Name     string `json:"name"`    // of the pool in the database
	Files    int    `json:"files"`   // that were read
	Skipped  int    `json:"skipped"` // that were imported before, whole
	Lines    int64  `json:"lines"`
	Shares   int64  `json:"shares"`   // credited
	Repeated int64  `json:"repeated"` // shares that were in the database
	Expired  int64  `json:"expired"`  // shares of days that were dropped from it
	Rejected int64  `json:"rejected"` // shares that the pool had rejected
	Jobs     int64  `json:"jobs"`
	Blocks   int64  `json:"blocks"`
	Damaged  int64  `json:"damaged"` // lines that were left out
	// Unfinished is a file whose last line was still being written; the next import
	// reads it.
	Unfinished string `json:"unfinished,omitempty"`

	Read  int64 `json:"-"` // bytes of the files, of Bytes
	Bytes int64 `json:"-"`
}

// maxRecords are stored in one transaction.
const maxRecords = 20_000

// linesPerHour is more than an hour's log can have; the number of a line is
// YYYYMMDDHH·10⁹ + its place in the file.
const linesPerHour = 1_000_000_000

// instanceOf is that of a pool's import: the same for each of them, and no pool's own.
func instanceOf(what, name string) (id [16]byte) {
	sum := sha256.Sum256([]byte("import of " + what + "\x00" + name))
	copy(id[:], sum[:])
	return id
}

// Run imports. The summary is of what was stored, also with an error.
func (i *Import) Run(ctx context.Context) (Summary, error) {
	files, prefix, err := findFiles(i.Dir, i.Prefix)
	if err != nil {
		return i.summary, err
	}
	if i.Name == "" {
		i.Name = prefix
	}
	i.summary.Name = i.Name
	id := instanceOf("request logs", i.Name)
	at, err := i.Store.Register(ctx, store.Instance{ID: id, Name: i.Name, Network: i.Network})
	if err != nil {
		return i.summary, err
	}
	i.batch.begin(id, at)
	last, line := at.Number/linesPerHour, at.Number%linesPerHour
	begun := false // the file that the last import ended in is there
	for _, f := range files {
		if f.hour < last {
			i.summary.Skipped++
			continue
		}
		begun = begun || f.hour == last
		i.summary.Bytes += f.size
	}
	if last != 0 && !begun && i.summary.Skipped > 0 {
		return i.summary, fmt.Errorf("%s: the last import of %s ended in the log of hour %d, which is not there: give other logs another --as, or move away the %d older ones",
			i.Dir, i.Name, last, i.summary.Skipped)
	}
	for n, f := range files {
		if f.hour < last {
			continue
		}
		skip := int64(0)
		if f.hour == last {
			skip = line
		}
		if err := i.file(ctx, f, skip, n == len(files)-1); err != nil {
			return i.summary, err
		}
		i.done += f.size
	}
	err = i.apply(ctx)
	return i.summary, err
}

// file reads a log from behind a line on.
func (i *Import) file(ctx context.Context, f hourFile, skip int64, newest bool) error {
	r, err := openLines(f.path)
	if err != nil {
		return err
	}
	defer r.close()
	start, _ := hourStart(strconv.FormatInt(f.hour, 10))
	if skip > 0 {
		if err := i.skip(ctx, r, f, start, skip); err != nil {
			return err
		}
	}
	i.summary.Files++
	for n := skip + 1; ; n++ {
		line, err := r.next()
		i.summary.Read = i.done + r.read
		number := f.hour*linesPerHour + n
		var reading *fs.PathError
		switch {
		case err == io.EOF:
			return nil
		case err == errUnfinished && newest:
			i.summary.Unfinished = f.path
			return nil
		case errors.As(err, &reading):
			return err
		case err != nil && err != errLong && err != errUnfinished:
			// It is not read over: who mends the newest file reads the rest of it.
			i.damaged(Damage{f.path, n, fmt.Errorf("the rest of the file cannot be read: %w", err)})
			if !newest {
				i.batch.gap(number)
			}
			return nil
		case n == linesPerHour:
			return fmt.Errorf("%s: more than %d lines", f.path, linesPerHour-1)
		}
		if err == nil {
			err = i.line(ctx, line, f, start, number)
		}
		var failed storeError
		if errors.As(err, &failed) {
			return failed.error
		}
		if err != nil {
			i.damaged(Damage{f.path, n, err})
			i.batch.gap(number)
		}
		i.summary.Lines++
		if err := i.moved(ctx, number); err != nil {
			return err
		}
	}
}

// skip reads the lines that were imported, and whether these are the ones: the time
// of the last is in the database.
func (i *Import) skip(ctx context.Context, r *lineReader, f hourFile, start time.Time, lines int64) error {
	list, _, err := i.Store.Status(ctx)
	if err != nil {
		return err
	}
	var stored, last int64
	for _, in := range list {
		if in.ID == i.batch.rows.Instance {
			stored = in.Time
		}
	}
	for n := int64(1); n <= lines; n++ {
		line, err := r.next()
		if err != nil && err != errLong && err != errUnfinished {
			return fmt.Errorf("%s:%d: %w; the last import of %s went to line %d: give other logs another --as", f.path, n, err, i.Name, lines)
		}
		if err != nil {
			continue
		}
		if request, err := ParseRequest(line); err == nil {
			if t, ok := timeOf(request, start); ok {
				last = t
			}
		}
	}
	if last != 0 && last != stored {
		return fmt.Errorf("%s: it is not the log that the last import of %s ended in, at line %d: give other logs another --as", f.path, i.Name, lines)
	}
	i.batch.rows.At = stored
	return ctx.Err()
}

// timeOf is when a request was made, if that is near the hour of its file.
func timeOf(r *Request, start time.Time) (int64, bool) {
	s, _ := r.Value("createdate")
	t, err := parseTime(s)
	return t, err == nil && isNear(t, start.UnixMicro())
}

// storeError is one that is not of a line.
type storeError struct{ error }

func (i *Import) damaged(d Damage) {
	i.summary.Damaged++
	if i.Damaged != nil {
		i.Damaged(d)
	}
}

// moved counts a record, and stores the batch when it is large enough.
func (i *Import) moved(ctx context.Context, number int64) error {
	i.batch.rows.To.Number = number
	if i.batch.records++; i.batch.records < cmp.Or(i.most, maxRecords) {
		return nil
	}
	return i.apply(ctx)
}

func (i *Import) apply(ctx context.Context) error {
	b := &i.batch
	if !b.rows.To.After(b.rows.From) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	result, err := i.Store.Apply(ctx, &b.rows)
	var moved *store.CursorError
	if errors.As(err, &moved) {
		return fmt.Errorf("another import of %s is running: %w", i.Name, err)
	}
	if err != nil {
		return err
	}
	s := &i.summary
	s.Shares += int64(result.New)
	s.Repeated += int64(result.Repeated)
	s.Expired += int64(result.Expired)
	s.Rejected += int64(len(b.rows.Rejects))
	s.Jobs += int64(len(b.rows.Jobs))
	s.Blocks += int64(len(b.rows.Blocks))
	b.reset()
	if i.Progress != nil {
		i.Progress(*s)
	}
	return nil
}

// line adds what a line says. An error is of the line, unless it is a storeError.
func (i *Import) line(ctx context.Context, text []byte, f hourFile, start time.Time, number int64) error {
	r, err := ParseRequest(text)
	if err != nil {
		return err
	}
	v := &values{Request: r}
	b := &i.batch
	at := v.created()
	if v.err == nil && !isNear(at, start.UnixMicro()) {
		v.fail("createdate", v.text("createdate"), fmt.Sprintf("a time about the hour %d", f.hour))
	}
	if v.err != nil {
		return v.err
	}
	switch r.Command {
	case "workinfo":
		job := v.workinfo(number)
		if v.err == nil {
			if err := i.restarted(ctx, int64(job.ID>>32), start); err != nil {
				return storeError{err}
			}
			b.rows.Jobs = append(b.rows.Jobs, job)
		}
	case "shares":
		b.share(v, i.Network, number, at)
	case "shareerror":
		b.reject(v, i.Network, at)
	case "authorise", "addrauth":
		if user, worker := v.name(); v.err == nil {
			b.see(b.worker(i.Network, user, worker), at)
		}
	case "poolstats":
		b.minute(v, at)
	case "block":
		if err := i.block(ctx, v, at); err != nil {
			return storeError{err}
		}
	case "ageworkinfo", "heartbeat", "workerstats", "userstats": // nothing is kept of them
	default:
		v.err = fmt.Errorf("%s: no request of a pool", r.Command)
	}
	// That of a line which is left out as well: by the time of the last one the next import
	// knows the log again.
	b.rows.At = at
	return v.err
}

// restarted begins another epoch where work has numbers of a later start of the pool:
// they begin with its time.
func (i *Import) restarted(ctx context.Context, started int64, start time.Time) error {
	b := &i.batch
	if started <= b.rows.To.Epoch || started > start.Add(near).Unix() {
		return nil
	}
	// What is of one epoch is stored together.
	if err := i.apply(ctx); err != nil {
		return err
	}
	b.rows.To.Epoch = started
	return nil
}

// workinfo is the job of a request.
func (v *values) workinfo(number int64) store.Job {
	j := store.Job{
		Number: number, ID: v.job(), PrevHash: v.swapped("prevhash"), Bits: v.word("bits"), Version: v.word("version"), NTime: v.word("ntime"),
		Reward: v.whole("reward", 0, math.MaxInt64), Created: v.created(),
	}
	j.Difficulty = difficulty.ExactOf(difficulty.FromBits(j.Bits))
	var err error
	if j.Height, err = height(v.text("coinbase1")); err != nil {
		v.fail("coinbase1", v.text("coinbase1"), "a coinbase with a height")
	}
	return j
}

// block adds a block, or that a node has taken it. The error is of the database.
func (i *Import) block(ctx context.Context, v *values, at int64) error {
	b := &i.batch
	height, hash := v.whole("height", 0, math.MaxUint32), v.swapped("blockhash")
	change := store.BlockChange{Hash: hash, At: at}
	switch confirmed := v.text("confirmed"); confirmed {
	case "n":
		change.State = source.BlockPending
		block := store.Block{Hash: hash, Height: height, Job: v.job(), Worker: -1, Reward: v.whole("reward", 0, math.MaxInt64), Found: at}
		if v.err != nil {
			return nil
		}
		// A block that came over a mining node is nobody's.
		if v.optional("username") != "" || v.optional("workername") != "" {
			user, worker := v.name()
			block.Worker = b.worker(i.Network, user, worker)
		}
		var err error
		if block.Difficulty, err = i.network(ctx, block.Job); err != nil {
			return err
		}
		b.rows.Blocks = append(b.rows.Blocks, block)
	case "1":
		change.State, change.Confirmations = source.BlockConfirmed, 1
	default:
		v.fail("confirmed", confirmed, "n or 1")
	}
	if v.err == nil {
		b.rows.Changes = append(b.rows.Changes, change)
	}
	return nil
}

// network is the network's difficulty of a job, 0 if the job is not known.
func (i *Import) network(ctx context.Context, job uint64) (difficulty.Exact, error) {
	for _, j := range i.batch.rows.Jobs {
		if j.ID == job {
			return j.Difficulty, nil
		}
	}
	j, err := i.Store.StoredJob(ctx, i.batch.rows.Instance, job)
	if errors.Is(err, store.ErrJob) {
		return difficulty.Exact{}, nil
	}
	return j.Difficulty, err
}

// batch gathers what is stored together.
type batch struct {
	rows    store.Batch
	workers map[store.Worker]int32
	names   map[[2]string]int32 // user and worker
	agents  map[string]int32
	seen    map[int32]int // index in rows.Seen by worker
	records int
}

func (b *batch) begin(instance [16]byte, at store.Position) {
	*b = batch{
		rows:    store.Batch{Instance: instance, From: at, To: at},
		workers: map[store.Worker]int32{}, names: map[[2]string]int32{}, agents: map[string]int32{}, seen: map[int32]int{},
	}
	b.rows.To.Epoch = max(at.Epoch, 1)
}

func (b *batch) reset() {
	at, time := b.rows.To, b.rows.At
	b.begin(b.rows.Instance, at)
	b.rows.At = time
}

func (b *batch) worker(network, user, worker string) int32 {
	name := [2]string{user, worker}
	n, ok := b.names[name]
	if !ok {
		n = accounting.Index(b.workers, &b.rows.Workers, accounting.WorkerOf(network, user, worker))
		b.names[name] = n
	}
	return n
}

func (b *batch) see(worker int32, at int64) {
	n, ok := b.seen[worker]
	if !ok {
		b.seen[worker] = len(b.rows.Seen)
		b.rows.Seen = append(b.rows.Seen, store.Seen{Worker: worker, At: at})
		return
	}
	b.rows.Seen[n].At = max(b.rows.Seen[n].At, at)
}

// gap notes a line that is left out; lines one after the other are one gap.
func (b *batch) gap(at int64) {
	if n := len(b.rows.Gaps); n > 0 && b.rows.Gaps[n-1].Last == at-1 {
		b.rows.Gaps[n-1].Last = at
		return
	}
	b.rows.Gaps = append(b.rows.Gaps, store.Gap{Epoch: b.rows.To.Epoch, First: at, Last: at, Seen: time.Now().UnixMicro(), Cause: "damaged"})
}

// Numbers of why a share was rejected, as the pool has them.
var reasons = map[int64]store.Reason{2: store.Stale, 4: store.Duplicate, 5: store.AboveTarget}

func reason(errn int64) store.Reason {
	if r, ok := reasons[errn]; ok {
		return r
	}
	return store.Other
}

func (b *batch) share(v *values, network string, number, at int64) {
	job, errn, diff := v.job(), v.whole("errn", math.MinInt32, math.MaxInt32), v.real("diff", maxCredit)
	user, worker := v.name()
	if v.err != nil {
		return
	}
	if errn != 0 {
		b.rejected(v, network, store.Reject{Received: at, Job: job, Reason: reason(errn), Difficulty: difficulty.ExactOf(diff)})
		return
	}
	hash, ntime := v.hash("hash"), v.word("ntime")
	achieved, sdiff := difficulty.OfHash(&hash), v.real("sdiff", math.MaxFloat64)
	switch result := v.optional("result"); {
	case v.err != nil:
		return
	case result != "" && result != "true":
		v.fail("result", result, "true where errn is 0")
	case diff == 0:
		v.fail("diff", v.text("diff"), "a number above 0")
	case !isNear(int64(ntime)*1_000_000, at):
		v.fail("ntime", v.text("ntime"), "a time about that of createdate")
	case math.Abs(achieved-sdiff) > 1e-6*sdiff:
		v.fail("sdiff", v.text("sdiff"), fmt.Sprintf("that of the hash, %v", achieved))
	}
	if v.err != nil {
		return
	}
	w := b.worker(network, user, worker)
	b.see(w, at)
	b.rows.Shares = append(b.rows.Shares, store.Share{
		Number: number, Received: at, NTime: ntime, Hash: [16]byte(hash[:16]), Worker: w, Agent: b.agent(v),
		Job: job, Credit: difficulty.ExactOf(diff), Achieved: difficulty.ExactOf(achieved),
	})
}

func (b *batch) agent(v *values) int32 {
	return accounting.Index(b.agents, &b.rows.Agents, v.optional("agent"))
}

// reject adds a share that the pool could not judge, so that it has no difficulty.
func (b *batch) reject(v *values, network string, at int64) {
	job, errn := uint64(v.whole("workinfoid", 0, math.MaxInt64)), v.whole("errn", math.MinInt32, math.MaxInt32)
	b.rejected(v, network, store.Reject{Received: at, Job: job, Reason: reason(errn)})
}

func (b *batch) rejected(v *values, network string, r store.Reject) {
	user, worker := v.name()
	if v.err != nil {
		return
	}
	r.Worker, r.Agent = b.worker(network, user, worker), b.agent(v)
	b.see(r.Worker, r.Received)
	b.rows.Rejects = append(b.rows.Rejects, r)
}

func (b *batch) minute(v *values, at int64) {
	m := store.Minute{
		At: at, Users: v.whole("users", 0, math.MaxInt64), Workers: v.whole("workers", 0, math.MaxInt64),
		Rate1m: v.rate("hashrate"), Rate5m: v.rate("hashrate5m"), Rate1h: v.rate("hashrate1hr"), Rate24h: v.rate("hashrate24hr"),
	}
	if v.err == nil {
		b.rows.Minutes = append(b.rows.Minutes, m)
	}
}
