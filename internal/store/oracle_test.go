package store

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/difficulty"
)

// oracle counts what batches say, one record after the other and in big numbers. It
// shares nothing with the store but the types of a batch.
type oracle struct {
	known map[string]bool // identities
	sums  map[string]*bigSum
	pools map[string]*poolJobs
}

// poolJobs are a pool's jobs in the order of its journal, and the sums of each.
type poolJobs struct {
	order  []*oracleJob
	byID   map[uint64]*oracleJob
	counts map[uint64]map[string]*bigSum // job, worker
}

type oracleJob struct {
	Job
	epoch int64
	found bool
}

type bigSum struct {
	count               [9]int64
	work                [9]*big.Int
	first, last, credit int64
	best                *big.Int
}

func newOracle() *oracle {
	return &oracle{map[string]bool{}, map[string]*bigSum{}, map[string]*poolJobs{}}
}

func bigUnits(x difficulty.Exact) *big.Int {
	r, _ := new(big.Rat).SetString(x.String())
	return r.Mul(r, new(big.Rat).SetInt64(1_000_000_000_000)).Num()
}

func at(m map[string]*bigSum, key string) *bigSum {
	s := m[key]
	if s == nil {
		s = &bigSum{best: new(big.Int)}
		for i := range s.work {
			s.work[i] = new(big.Int)
		}
		m[key] = s
	}
	return s
}

func (s *bigSum) count1(class int, work difficulty.Exact, above Above, received int64, achieved difficulty.Exact) {
	s.count[class]++
	s.work[class].Add(s.work[class], bigUnits(work))
	if class == 5 { // was in the database before
		return
	}
	if above.Verdict != NotSent {
		class := 5 + above.Verdict
		s.count[class]++
		s.work[class].Add(s.work[class], bigUnits(above.Difficulty))
	}
	if s.first == 0 || received < s.first {
		s.first = received
	}
	s.last = max(s.last, received)
	if class == 0 {
		s.credit = max(s.credit, received)
		if a := bigUnits(achieved); a.Cmp(s.best) > 0 {
			s.best = a
		}
	}
}

func (s *bigSum) String() string {
	var b strings.Builder
	for i := range s.count {
		fmt.Fprintf(&b, "%d=%s ", s.count[i], s.work[i])
	}
	fmt.Fprintf(&b, "%d %d %d %s", s.first, s.last, s.credit, s.best)
	return b.String()
}

func stored(s *Sum) string {
	var b strings.Builder
	for _, c := range []Class{s.Accepted, s.Stale, s.Duplicate, s.AboveTarget, s.Other, s.Repeated, s.AcceptedAbove, s.RefusedAbove, s.Unanswered} {
		fmt.Fprintf(&b, "%d=%s ", c.Count, bigUnits(c.Work))
	}
	fmt.Fprintf(&b, "%d %d %d %s", s.FirstShare, s.LastShare, s.LastAccepted, bigUnits(s.Best))
	return b.String()
}

func workerKey(w Worker) string { return string(w.Kind) + "|" + w.Account + "|" + w.Name }

func (o *oracle) apply(pool string, b *Batch) {
	p := o.pools[pool]
	if p == nil {
		p = &poolJobs{byID: map[uint64]*oracleJob{}, counts: map[uint64]map[string]*bigSum{}}
		o.pools[pool] = p
	}
	for _, j := range b.Jobs {
		if p.byID[j.ID] == nil {
			p.byID[j.ID] = &oracleJob{Job: j, epoch: b.To.Epoch}
			p.order = append(p.order, p.byID[j.ID])
		}
	}
	for _, v := range b.Blocks {
		if j := p.byID[v.Job]; j != nil {
			j.found = true
		}
	}
	count := func(job uint64, worker, agent int32, class int, work difficulty.Exact, above Above, received int64, achieved difficulty.Exact) {
		w, hour := workerKey(b.Workers[worker]), received/3_600_000_000
		for _, key := range []string{
			"pool " + pool, "worker " + w, "agent " + b.Agents[agent],
			fmt.Sprintf("hour %s %d", w, hour), fmt.Sprintf("day %s %d", w, hour/24),
			fmt.Sprintf("agent hour %s %d", b.Agents[agent], hour), fmt.Sprintf("agent day %s %d", b.Agents[agent], hour/24),
		} {
			at(o.sums, key).count1(class, work, above, received, achieved)
		}
		if p.counts[job] == nil {
			p.counts[job] = map[string]*bigSum{}
		}
		at(p.counts[job], w).count1(class, work, above, received, achieved)
	}
	for i := range b.Shares {
		s := &b.Shares[i]
		class := 0
		if id := fmt.Sprint(s.NTime, s.Hash); o.known[id] {
			class = 5
		} else {
			o.known[id] = true
		}
		count(s.Job, s.Worker, s.Agent, class, s.Credit, s.Above, s.Received, s.Achieved)
	}
	for i := range b.Rejects {
		r := &b.Rejects[i]
		count(r.Job, r.Worker, r.Agent, 1+int(r.Reason), r.Difficulty, r.Above, r.Received, difficulty.Exact{})
	}
}

// shifts of a pool: the jobs of each.
func (p *poolJobs) shifts() (list [][]*oracleJob) {
	var open []*oracleJob
	for _, j := range p.order {
		if n := len(open); n > 0 {
			last := open[n-1]
			if n == 100 || last.found || last.epoch != j.epoch || last.Bits != j.Bits || last.Height/210000 != j.Height/210000 && j.Height%210000 == 0 {
				list = append(list, open)
				open = nil
			}
		}
		open = append(open, j)
	}
	if len(open) > 0 {
		list = append(list, open)
	}
	return list
}

// merge adds up.
func (s *bigSum) merge(t *bigSum) {
	for i := range s.count {
		s.count[i] += t.count[i]
		s.work[i].Add(s.work[i], t.work[i])
	}
	if t.first != 0 && (s.first == 0 || t.first < s.first) {
		s.first = t.first
	}
	s.last, s.credit = max(s.last, t.last), max(s.credit, t.credit)
	if t.best.Cmp(s.best) > 0 {
		s.best = t.best
	}
}

// compare what the store says with what the oracle counted.
func (o *oracle) compare(t *testing.T, s *Store) {
	t.Helper()
	got := map[string]string{}
	for _, v := range []struct {
		q    Query
		name func(Row) string
	}{
		{Query{By: ByPool}, func(r Row) string { return "pool " + r.Pool }},
		{Query{By: ByWorker, Days: true}, func(r Row) string { return "worker " + workerKey(r.Worker) }},
		{Query{By: ByAgent}, func(r Row) string { return "agent " + r.Agent }},
		{Query{By: ByWorker, Each: true}, func(r Row) string { return fmt.Sprintf("hour %s %d", workerKey(r.Worker), r.Start/3_600_000_000) }},
		{Query{By: ByWorker, Each: true, Days: true}, func(r Row) string { return fmt.Sprintf("day %s %d", workerKey(r.Worker), r.Start/86_400_000_000) }},
		{Query{By: ByAgent, Each: true}, func(r Row) string { return fmt.Sprintf("agent hour %s %d", r.Agent, r.Start/3_600_000_000) }},
		{Query{By: ByAgent, Each: true, Days: true}, func(r Row) string { return fmt.Sprintf("agent day %s %d", r.Agent, r.Start/86_400_000_000) }},
	} {
		list, err := s.Sums(t.Context(), v.q)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			got[v.name(r)] = stored(&r.Sum)
		}
	}
	want := map[string]string{}
	for key, sum := range o.sums {
		want[key] = sum.String()
	}
	shifts, err := s.Shifts(t.Context(), ShiftQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range shifts {
		got[fmt.Sprintf("shift %s %d", v.Pool, v.Number)] = fmt.Sprintf("%d jobs %d to %d, %s", v.Jobs, v.FirstJob, v.LastJob, stored(&v.Sum))
	}
	for pool, p := range o.pools {
		for i, list := range p.shifts() {
			sum := at(map[string]*bigSum{}, "")
			for _, j := range list {
				for _, w := range p.counts[j.ID] {
					sum.merge(w)
				}
			}
			want[fmt.Sprintf("shift %s %d", pool, i+1)] = fmt.Sprintf("%d jobs %d to %d, %s", len(list), list[0].ID, list[len(list)-1].ID, sum)
		}
	}
	bad := 0
	keys := map[string]bool{}
	for k := range got {
		keys[k] = true
	}
	for k := range want {
		keys[k] = true
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if got[k] != want[k] {
			if bad++; bad < 6 {
				t.Errorf("%s:\n got %s\nwant %s", k, got[k], want[k])
			}
		}
	}
	if bad > 5 {
		t.Errorf("and %d more of %d", bad-5, len(keys))
	}
}

// amount between 1e-12 and 1e18.
func amount(r *rand.Rand) difficulty.Exact {
	d, _ := strconv.ParseFloat(fmt.Sprintf("%de%d", 1+r.IntN(9999), r.IntN(27)-12), 64)
	return difficulty.ExactOf(min(d, 1e18))
}

// said is what another pool said of some shares, which are sent to none otherwise.
func said(r *rand.Rand) (a Above) {
	if r.IntN(2) == 0 {
		a = Above{Verdict(1 + r.IntN(3)), amount(r)}
	}
	return a
}

// journals are batches of random records of some pools, in the order of each pool's
// journal: jobs, blocks of old jobs, shares that others have, too, shares before
// their job, epochs, halvings.
func journals(r *rand.Rand, pools, batches int) map[byte][]*Batch {
	all := map[byte][]*Batch{}
	var old []Share
	for n := range byte(pools) {
		at := Position{}
		height, bits, job := int64(209_990), uint32(0x207fffff), uint64(0)
		var ids []uint64
		for range batches {
			to := Position{Epoch: max(at.Epoch, 1), Number: at.Number}
			if r.IntN(8) == 0 {
				to = Position{Epoch: to.Epoch + 1}
			}
			b := &Batch{Instance: instance(n + 1).ID, From: at, Agents: []string{"cgminer/4.12", "bitaxe", "x" + strconv.Itoa(r.IntN(3))}}
			for range 1 + r.IntN(4) {
				b.Workers = append(b.Workers, Worker{Kind: User, Account: "user" + strconv.Itoa(r.IntN(3)), Name: "rig" + strconv.Itoa(r.IntN(4))})
			}
			next := func() int64 { to.Number++; return to.Number }
			for range r.IntN(20) {
				if r.IntN(3) == 0 {
					height++
				}
				if r.IntN(40) == 0 {
					bits++
				}
				job++
				ids = append(ids, job)
				b.Jobs = append(b.Jobs, Job{Number: next(), ID: job, Height: height, Bits: bits, NTime: started/1_000_000 - 100, Created: started + int64(job)*30_000_000})
			}
			if len(b.Jobs) > 0 && r.IntN(5) == 0 { // defined again
				j := b.Jobs[0]
				j.Number = next()
				b.Jobs = append(b.Jobs, j)
			}
			if len(ids) > 0 && r.IntN(3) == 0 {
				v := Block{Height: height, Job: ids[max(0, len(ids)-1-r.IntN(30))], Worker: int32(r.IntN(len(b.Workers)+1)) - 1, Found: started + next()}
				for i := range v.Hash {
					v.Hash[i] = byte(r.Uint32())
				}
				b.Blocks = append(b.Blocks, v)
			}
			for range r.IntN(60) {
				s := Share{Number: next(), Received: started + r.Int64N(3*86_400_000_000), NTime: uint32(started/1_000_000 + r.Int64N(2*86_400)),
					Worker: int32(r.IntN(len(b.Workers))), Agent: int32(r.IntN(3)), Job: uint64(1 + r.Int64N(int64(job)+2)), Credit: amount(r), Achieved: amount(r), Scheme: uint8(r.IntN(2)), Above: said(r)}
				for i := range s.Hash {
					s.Hash[i] = byte(r.Uint32())
				}
				if len(old) > 0 && r.IntN(5) == 0 {
					o := old[r.IntN(len(old))]
					s.NTime, s.Hash = o.NTime, o.Hash
				}
				old = append(old, s)
				b.Shares = append(b.Shares, s)
			}
			for range r.IntN(10) {
				b.Rejects = append(b.Rejects, Reject{started + r.Int64N(86_400_000_000), int32(r.IntN(len(b.Workers))), int32(r.IntN(3)), uint64(r.Int64N(int64(job) + 3)), Reason(r.IntN(4)), amount(r), said(r)})
				next()
			}
			if to.Number == 0 {
				next()
			}
			b.To, b.At = to, started+to.Number
			at = to
			all[n+1] = append(all[n+1], b)
		}
	}
	return all
}

// Sums and shifts are those of an oracle, whatever the order in which batches of
// several pools come, and however often: with folds in between and without.
func TestSums(t *testing.T) {
	for _, foldAt := range []int64{0, 150, 1_000_000} {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("fold at %d", foldAt), func(t *testing.T) {
			t.Logf("seed %d", seed)
			each(t, func(t *testing.T, where string) {
				s := open(t, where)
				s.foldLeast, s.foldMost = foldAt, foldAt
				r := rand.New(rand.NewPCG(seed, 1))
				const pools = 3
				all := journals(r, pools, 14)
				want := newOracle()
				for n := range byte(pools) {
					if _, err := s.Register(t.Context(), instance(n+1)); err != nil {
						t.Fatal(err)
					}
				}
				done := map[byte]int{}
				for len(done) < pools || done[1]+done[2]+done[3] < 14*pools {
					n := byte(1 + r.IntN(pools))
					i := done[n]
					if again := r.IntN(3); again == 0 && i > 0 { // an old batch, or one too early
						b := all[n][r.IntN(i)]
						if i+1 < len(all[n]) && r.IntN(2) == 0 {
							b = all[n][i+1]
						}
						if b.From == all[n][i-1].To { // behind one that is empty: it is neither
							continue
						}
						var moved *CursorError
						if _, err := s.Apply(t.Context(), b); !errors.As(err, &moved) || moved.Present != all[n][i-1].To {
							t.Fatalf("batch after %s on %s: %v", b.From, all[n][i-1].To, err)
						}
						continue
					}
					if i == len(all[n]) {
						continue
					}
					result := apply(t, s, all[n][i])
					if got := result.New + result.Repeated; got != len(all[n][i].Shares) {
						t.Fatalf("%d shares of %d", got, len(all[n][i].Shares))
					}
					want.apply(instance(n).Name, all[n][i])
					done[n]++
					if r.IntN(12) == 0 {
						want.compare(t, s)
					}
				}
				want.compare(t, s)
				consistent(t, s)

				// Nor does it matter that days are dropped, and sums of their jobs joined.
				work, err := s.WorkAt(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				strays, err := s.Strays(t.Context(), 0, nowhere, 0)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Retain(t.Context(), started/1_000_000+10*secondsPerDay); err != nil {
					t.Fatal(err)
				}
				joinAll(t, s) // with what was pending
				want.compare(t, s)
				consistent(t, s)
				if now, err := s.WorkAt(t.Context()); err != nil || !maps.Equal(now, work) {
					t.Errorf("work by height: %v, was %v, %v", now, work, err)
				}
				if now, err := s.Strays(t.Context(), 0, nowhere, 0); err != nil || !slices.Equal(now, strays) {
					t.Errorf("strays: %v, were %v, %v", now, strays, err)
				}
			})
		})
	}
}

// The total does not depend on which pool's journal is read first.
func TestOrder(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		all := journals(rand.New(rand.NewPCG(seed, 1)), 2, 6)
		credit := map[string]difficulty.Exact{} // of one identity always the same
		for _, n := range []byte{1, 2} {
			for _, b := range all[n] {
				for i := range b.Shares {
					v := &b.Shares[i]
					id := fmt.Sprint(v.NTime, v.Hash)
					if c, ok := credit[id]; ok {
						v.Credit = c
					}
					credit[id] = v.Credit
				}
			}
		}
		want := new(big.Int)
		for _, c := range credit {
			want.Add(want, bigUnits(c))
		}
		s := open(t, where)
		order := []byte{1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2}
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, n := range []byte{1, 2} {
			if _, err := s.Register(t.Context(), instance(n)); err != nil {
				t.Fatal(err)
			}
		}
		done := map[byte]int{}
		for _, n := range order {
			apply(t, s, all[n][done[n]])
			done[n]++
		}
		if sum := total(t, s); bigUnits(sum.Accepted.Work).Cmp(want) != 0 || sum.Accepted.Count != int64(len(credit)) {
			t.Errorf("order %v: %d shares of %s, want %d of %s", order, sum.Accepted.Count, bigUnits(sum.Accepted.Work), len(credit), want)
		}
	})
}
