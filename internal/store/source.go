package store

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"math/big"
	"slices"
	"strings"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/rewards"
	"github.com/ckpool/ckpool/internal/store/table"
	"github.com/ckpool/ckpool/work"
)

// shareSource gives the shares that count for a block. It reads sums of whole heights, and
// single shares of the one height that is asked for, and keeps neither.
type shareSource struct {
	store *Store
	tx    table.Tx // a snapshot, of which one query can be open
	block finding
	// rewarded is the number of the block's reward in the ledger: what came later does not
	// count; 0: it has none yet.
	rewarded int64
	// previous is the pool's block that the shares come after; without one there is no
	// height, and all count.
	previous         *finding
	previousName     string // of its block, as people write it
	previousRewarded int64  // number of its reward
	// from is the lowest height that counts, as single shares of the one below were dropped;
	// 0: all do.
	from int64
}

// finding is a share that is a block.
type finding struct {
	height   int64
	instance int64 // 0: not known, and so no share
	id       rewards.Instance
	at       Position // of its record; zero: the share is not known
	account  rewards.Account
	solo     bool
	network  difficulty.Exact
}

// chunk is how many heights are summed up in one query at first; then twice as many.
const (
	firstChunk = 16
	mostChunk  = 256
)

// Sums implements rewards.Source.
func (s *shareSource) Sums(ctx context.Context) iter.Seq2[rewards.Sum, error] {
	return func(yield func(rewards.Sum, error) bool) {
		lowest, least := int64(0), s.from
		if s.previous != nil {
			least = max(least, s.previous.height+1)
		}
		err := one(ctx, s.tx, "select coalesce(min(height), 0) from places", nil, &lowest)
		if err == nil {
			err = s.ownHeight(ctx, yield)
		}
		for high, size := s.block.height-1, int64(firstChunk); err == nil && high >= max(lowest, least); {
			low := max(high-size+1, lowest, least)
			err = s.sums(ctx, "j.height >= $1 and j.height <= $2", []any{low, high}, yield)
			high, size = low-1, min(2*size, mostChunk)
			if err == nil && high > lowest { // there may be none for long
				err = one(ctx, s.tx, "select coalesce(max(height), -1) from places where height <= $1", []any{high}, &high)
			}
		}
		if err == nil && s.previous != nil && s.previous.at != (Position{}) {
			// Of the previous block's own height, what came after it.
			err = s.single(ctx, s.previous, true, yield)
		}
		if err == nil && s.previous != nil {
			err = s.late(ctx, yield)
		}
		if err != nil && err != errEnough {
			yield(rewards.Sum{}, err)
		}
	}
}

// late gives what came after the previous block was rewarded, of heights up to its own, as
// if it were of that. What its own pool had at its height single gives.
func (s *shareSource) late(ctx context.Context, yield func(rewards.Sum, error) bool) error {
	of := s.previous
	where, args := "j.height <= $1 and j.after >= $2", []any{of.height, s.previousRewarded}
	if of.at != (Position{}) {
		where, args = where+" and not (j.height = $1 and j.instance = $3)", append(args, of.instance)
	}
	if err := s.sums(ctx, where, args, func(v rewards.Sum, err error) bool {
		v.Height = of.height
		return yield(v, err)
	}); err != nil {
		return err
	}
	// Of jobs that were there before, with that reward in between.
	where = strings.Replace(where, "j.after >= $2", "j.after < $2 and l.after >= $2", 1)
	if s.rewarded != 0 {
		where += fmt.Sprintf(" and l.after < %d", s.rewarded)
	}
	return s.lateSums(ctx, where, args, func(v rewards.Sum) error {
		if v.Height = of.height; !yield(v, nil) {
			return errEnough
		}
		return nil
	})
}

// lateSums gives the sums of late shares l of jobs j.
func (s *shareSource) lateSums(ctx context.Context, where string, args []any, give func(rewards.Sum) error) error {
	value := s.store.db.Sum(table.Column{Name: "l.credit", Kind: table.Exact, Merge: table.Add})
	return rows(ctx, s.tx, "select j.height, i.uid, a.kind, a.folded, "+value+` from late_shares l join places j on j.instance = l.instance and j.job = l.job
		join workers w on w.id = l.worker join accounts a on a.id = w.account join instances i on i.id = l.instance
		where `+where+" group by j.height, i.uid, a.kind, a.folded", args, func(scan func(...any) error) error {
		var v rewards.Sum
		var uid []byte
		if err := scan(&v.Height, &uid, &v.Account.Kind, &v.Account.Name, table.Amount{To: &v.Work}); err != nil {
			return err
		}
		copy(v.Instance[:], uid)
		return give(v)
	})
}

// errEnough tells that no more is wanted.
var errEnough = fmt.Errorf("enough")

// ownHeight gives what counts at the block's height.
func (s *shareSource) ownHeight(ctx context.Context, yield func(rewards.Sum, error) bool) error {
	if s.block.at == (Position{}) { // nobody can tell which came after it
		return s.sums(ctx, "j.height = $1", []any{s.block.height}, yield)
	}
	if err := s.single(ctx, &s.block, false, yield); err != nil {
		return err
	}
	return s.sums(ctx, "j.height = $1 and j.instance <> $2", []any{s.block.height, s.block.instance}, yield)
}

// counted is the condition of places j that count.
func (s *shareSource) counted() string {
	if s.rewarded == 0 {
		return ""
	}
	return fmt.Sprintf(" and j.after < %d", s.rewarded)
}

// sums gives the sums of jobs by height, the highest first.
func (s *shareSource) sums(ctx context.Context, where string, args []any, yield func(rewards.Sum, error) bool) error {
	type key struct {
		height   int64
		instance rewards.Instance
		account  rewards.Account
	}
	late := map[key]difficulty.Exact{} // that is in the sums, and does not count
	if s.rewarded != 0 {
		if err := s.lateSums(ctx, fmt.Sprintf("%s%s and l.after >= %d", where, s.counted(), s.rewarded), args, func(v rewards.Sum) error {
			late[key{v.Height, v.Instance, v.Account}] = v.Work
			return nil
		}); err != nil {
			return err
		}
	}
	value := s.store.db.Sum(table.Column{Name: "p.accepted_work", Kind: table.Exact, Merge: table.Add})
	var parts []string
	for _, of := range []string{jobSums.Name, pending.Name} {
		// By numbers first: names are longer, and rows of sums many.
		parts = append(parts, fmt.Sprintf(`select g.height, i.uid, a.kind, a.folded, g.work from
			(select j.height as height, p.instance as instance, w.account as account, %s as work from places j
				join %s p on p.instance = j.instance and p.job = j.job join workers w on w.id = p.worker
				where %s%s and p.scheme = 0 and p.accepted > 0 group by j.height, p.instance, w.account) g
			join accounts a on a.id = g.account join instances i on i.id = g.instance`, value, of, where, s.counted()))
	}
	return rows(ctx, s.tx, strings.Join(parts, " union all ")+" order by 1 desc", args, func(scan func(...any) error) error {
		var v rewards.Sum
		var uid []byte
		err := scan(&v.Height, &uid, &v.Account.Kind, &v.Account.Name, table.Amount{To: &v.Work})
		copy(v.Instance[:], uid)
		if k := (key{v.Height, v.Instance, v.Account}); len(late) > 0 && !late[k].IsZero() {
			less := late[k]
			if less.Cmp(v.Work) > 0 { // the rest is in the other table
				less = v.Work
			}
			late[k], v.Work = late[k].Sub(less), v.Work.Sub(less)
		}
		if err == nil && !yield(v, nil) {
			err = errEnough
		}
		return err
	})
}

// single gives the sums of the shares of a block's instance at its height that came up to
// it, or after it.
func (s *shareSource) single(ctx context.Context, of *finding, after bool, yield func(rewards.Sum, error) bool) error {
	from, args, err := s.sharesAt(ctx, s.tx, of.height, of.instance)
	if err != nil || from == "" {
		return err
	}
	order := "(x.epoch < $3 or x.epoch = $3 and x.number <= $4)"
	if after {
		order = "(x.epoch > $3 or x.epoch = $3 and x.number > $4)"
	}
	value := s.store.db.Sum(table.Column{Name: "x.credit", Kind: table.Exact, Merge: table.Add})
	return rows(ctx, s.tx, "select a.kind, a.folded, "+value+" from "+from+" join workers w on w.id = x.worker join accounts a on a.id = w.account where x.scheme = 0 and "+order+
		" group by a.kind, a.folded", append(args, of.at.Epoch, of.at.Number), func(scan func(...any) error) error {
		v := rewards.Sum{Height: of.height, Instance: of.id}
		err := scan(&v.Account.Kind, &v.Account.Name, table.Amount{To: &v.Work})
		if err == nil && !yield(v, nil) {
			err = errEnough
		}
		return err
	})
}

// streamsMost is how many lists of single shares are read at a time with a connection for
// each, and sharesAtOnce how many shares at a time of what is more: there may be more pools
// than connections, and who has some must not wait for others.
const (
	streamsMost  = 16
	sharesAtOnce = 100_000
)

// Shares implements rewards.Source.
func (s *shareSource) Shares(ctx context.Context, height int64, of rewards.Instance) iter.Seq2[rewards.Share, error] {
	return func(yield func(rewards.Share, error) bool) {
		var last singlePlace
		select {
		case s.store.streams <- struct{}{}:
			defer func() { <-s.store.streams }()
			err := s.shares(ctx, height, of, &last, math.MaxInt64, func(v rewards.Share) error {
				if !yield(v, nil) {
					return errEnough
				}
				return nil
			})
			if err != nil && err != errEnough {
				yield(rewards.Share{}, err)
			}
			return
		default:
		}
		for {
			var list []rewards.Share
			if err := s.shares(ctx, height, of, &last, s.store.sharesAtOnce, func(v rewards.Share) error {
				list = append(list, v)
				return nil
			}); err != nil {
				yield(rewards.Share{}, err)
				return
			}
			for _, v := range list {
				if !yield(v, nil) {
					return
				}
			}
			if int64(len(list)) < s.store.sharesAtOnce {
				return
			}
		}
	}
}

// singlePlace is where a single share stands in the order of receipt: its record's place,
// and what tells two apart where an older copy of the journal was put back.
type singlePlace struct {
	epoch, number, ntime int64
	hash                 []byte
}

// shares gives the single shares behind the last one, at most so many. It is on a connection
// of its own: several are read at once.
func (s *shareSource) shares(ctx context.Context, height int64, of rewards.Instance, last *singlePlace, most int64, give func(rewards.Share) error) error {
	return s.store.db.Read(ctx, func(tx table.Tx) error {
		var instance int64
		if err := one(ctx, tx, "select id from instances where uid = $1", []any{of[:]}, &instance); err != nil {
			return err
		}
		from, args, err := s.sharesAt(ctx, tx, height, instance)
		if err != nil || from == "" {
			return err
		}
		where := ""
		if b := &s.block; height == b.height && instance == b.instance && b.at != (Position{}) {
			where = " and (x.epoch < $3 or x.epoch = $3 and x.number <= $4)"
			args = append(args, b.at.Epoch, b.at.Number)
		}
		n := len(args)
		where += fmt.Sprintf(" and (x.epoch, x.number, x.ntime, x.hash) > ($%d, $%d, $%d, $%d)", n+1, n+2, n+3, n+4)
		args = append(args, last.epoch, last.number, last.ntime, append([]byte{}, last.hash...))
		limit := ""
		if most < math.MaxInt64 {
			limit = fmt.Sprintf(" limit %d", most)
		}
		value := s.store.db.Same(table.Column{Name: "x.credit", Kind: table.Exact})
		return rows(ctx, tx, "select a.kind, a.folded, "+value+", x.epoch, x.number, x.ntime, x.hash from "+from+" join workers w on w.id = x.worker join accounts a on a.id = w.account where x.scheme = 0"+where+
			" order by x.epoch, x.number, x.ntime, x.hash"+limit, args, func(scan func(...any) error) error {
			var v rewards.Share
			err := scan(&v.Account.Kind, &v.Account.Name, table.Amount{To: &v.Work}, &last.epoch, &last.number, &last.ntime, &last.hash)
			if err == nil {
				err = give(v)
			}
			return err
		})
	})
}

// sharesAt is what follows "from" for the single shares of an instance at a height, x,
// with two arguments; "" where there are none.
func (s *shareSource) sharesAt(ctx context.Context, tx table.Tx, height, instance int64) (from string, args []any, err error) {
	// A share's time is one that its job allows.
	least, most := int64(1)<<40, int64(-1)
	if err := rows(ctx, tx, "select coalesce(k.ntime, 0), coalesce(k.record, $3), j.least, j.most from places j left join jobs k on k.instance = j.instance and k.id = j.job where j.instance = $1 and j.height = $2"+s.counted(),
		[]any{instance, height, []byte{}}, func(scan func(...any) error) error {
			var ntime, first, last int64
			var record []byte
			if err := scan(&ntime, &record, &first, &last); err != nil {
				return err
			}
			if last > 0 { // as its shares are
				least, most = min(least, first), max(most, last)
			}
			if ntime == 0 {
				return nil
			}
			least, most = min(least, ntime), max(most, ntime)
			if len(record) > 0 {
				var r work.JobReader
				j, err := r.Read(record)
				if err != nil {
					return err
				}
				most = max(most, int64(j.NTimeMax))
			} else {
				most = max(most, ntime+secondsPerDay)
			}
			return nil
		}); err != nil || most < 0 {
		return "", nil, err
	}
	kept, _, err := s.store.days(ctx, tx)
	if err != nil {
		return "", nil, err
	}
	late := ""
	if s.rewarded != 0 {
		late = fmt.Sprintf(" and not exists (select 1 from late_shares l where l.ntime = x.ntime and l.hash = x.hash and l.after >= %d)", s.rewarded)
	}
	var parts []string
	for _, day := range kept {
		if day < least/secondsPerDay || day > most/secondsPerDay {
			continue
		}
		parts = append(parts, fmt.Sprintf("select x.* from %s x where x.instance = $1 and x.ntime >= %d and x.ntime <= %d and x.job in (select j.job from places j where j.instance = $1 and j.height = $2%s)%s",
			dayTable(day), least, most, s.counted(), late))
	}
	if len(parts) == 0 {
		return "", nil, nil
	}
	return "(" + strings.Join(parts, " union all ") + ") x", []any{instance, height}, nil
}

// kept is [ErrDropped] where a block was rewarded by single shares that may have been dropped:
// those of its own height, and of that of the block before it if that counts.
func (s *shareSource) kept(ctx context.Context, p *rewards.Parameters) error {
	heights := []int64{s.block.height}
	if s.previous != nil {
		heights = append(heights, s.previous.height)
	}
	for _, height := range heights {
		if p.Scheme == rewards.Solo { // its shares do not count
			return nil
		}
		if dropped, err := s.dropped(ctx, height); err != nil || dropped {
			return cmp.Or(err, ErrDropped)
		}
	}
	return nil
}

// earliest is the time that no header of a share is before, of a place j and its job k: that of
// the job, or of the first share where that may be earlier.
const earliest = "case when j.most > 0 and j.least < coalesce(k.ntime, j.least + 1) then j.least else k.ntime end"

// dropped tells whether single shares of a height may have been dropped.
func (s *shareSource) dropped(ctx context.Context, height int64) (yes bool, err error) {
	_, day, err := s.store.days(ctx, s.tx)
	if err != nil {
		return false, err
	}
	err = rows(ctx, s.tx, "select coalesce(min("+earliest+") / 86400, $2) from places j left join jobs k on k.instance = j.instance and k.id = j.job where j.height = $1",
		[]any{height, int64(nowhere)}, func(scan func(...any) error) error {
			var first int64
			err := scan(&first)
			yes = first <= day
			return err
		})
	return yes, err
}

// findShare finds the share that is a block. Where it is not there, the pool's word says
// who found it.
func (s *Store) findShare(ctx context.Context, tx table.Tx, b *poolBlock) (f finding, err error) {
	f.height = b.Height
	const who = " join workers w on w.id = x.worker join accounts a on a.id = w.account join instances i on i.id = x.instance join jobs j on j.instance = x.instance and j.id = x.job"
	network := s.db.Same(table.Column{Name: "j.difficulty", Kind: table.Exact})
	read := func(query string, args ...any) error {
		return rows(ctx, tx, query, args, func(scan func(...any) error) error {
			var uid, record []byte
			var scheme int64
			err := scan(&f.instance, &uid, &f.at.Epoch, &f.at.Number, &f.account.Kind, &f.account.Name, &scheme, table.Amount{To: &f.network}, &record)
			if scheme < 0 { // that of the job
				script, above, bad := payoutScript(record)
				f.solo, err = bad == nil && script == nil && !above, cmp.Or(err, bad)
			} else {
				f.solo = scheme == 1
			}
			copy(f.id[:], uid)
			return err
		})
	}
	kept, _, err := s.days(ctx, tx)
	if err != nil {
		return f, err
	}
	if day := dayOf(uint32(b.ntime)); slices.Contains(kept, day) {
		if err := read("select x.instance, i.uid, x.epoch, x.number, a.kind, a.folded, x.scheme, "+network+", j.record from "+dayTable(day)+" x"+who+
			" where x.ntime = $1 and x.hash = $2 and j.height = $3", b.ntime, b.Hash[:16], b.Height); err != nil || f.instance != 0 {
			return f, err
		}
		// Where its job's record was lost, or it came without a job and was given one of another
		// height, any job of that height tells the difficulty.
		lost := strings.Replace(who, "join jobs j on j.instance = x.instance and j.id = x.job",
			"join places l on l.instance = x.instance and l.job = x.job and l.most > 0 join (select * from jobs where height = $3 order by instance, id limit 1) j on true", 1)
		if err := read("select x.instance, i.uid, x.epoch, x.number, a.kind, a.folded, x.scheme, "+network+", j.record from "+dayTable(day)+" x"+lost+
			" where x.ntime = $1 and x.hash = $2 and not exists (select 1 from jobs k where k.instance = x.instance and k.id = x.job and k.height = $3)", b.ntime, b.Hash[:16], b.Height); err != nil {
			return f, err
		}
		if f.instance != 0 {
			return f, one(ctx, tx, "select l.height from "+dayTable(day)+" x join places l on l.instance = x.instance and l.job = x.job where x.ntime = $1 and x.hash = $2",
				[]any{b.ntime, b.Hash[:16]}, &f.height)
		}
	}
	err = read("select x.instance, i.uid, 0, 0, coalesce(a.kind, 'user'), coalesce(a.folded, '*'), -1, "+network+", j.record from blocks x"+
		strings.Replace(who, " join workers w on w.id = x.worker join accounts", " left join workers w on w.id = x.worker left join accounts", 1)+" where x.hash = $1", b.Hash[:])
	return f, err
}

// needed is the first day whose shares a reward may still ask for one by one: those of
// the height at which the window begins of the oldest block that is not rewarded, or of
// one that would be found now, or of the last block of a proportional round. It is
// after all days where no chain is followed and nobody is rewarded.
func (s *Store) needed(ctx context.Context, tx table.Tx) (day int64, err error) {
	const never = int64(1) << 40
	var start, tip int64
	if err := one(ctx, tx, "select start from chain_head", nil, &start); err != nil || start == nowhere {
		return never, err
	}
	if err := one(ctx, tx, "select coalesce(max(height), -1) from jobs where length(record) > 0", nil, &tip); err != nil || tip < 0 {
		return never, err
	}
	oldest, network := tip, difficulty.Exact{}
	if err := one(ctx, tx, "select height from chain_blocks where rewarded = 0 and state <> 'orphaned' and height <= $1 order by height limit 1", []any{tip}, &oldest); err != nil {
		return 0, err
	}
	if err := one(ctx, tx, "select "+s.db.Same(table.Column{Name: "difficulty", Kind: table.Exact})+" from jobs where height = $1 limit 1", []any{tip}, table.Amount{To: &network}); err != nil {
		return 0, err
	}
	lowest := oldest
	src := &shareSource{store: s, tx: tx, block: finding{height: oldest + 1}}
	p, err := s.parameters(ctx, tx, &poolBlock{Place: Place{Height: oldest + 1}, found: now()}, src)
	if err != nil {
		return 0, err
	}
	if p.Scheme == rewards.Proportional {
		lowest = p.Previous
	} else {
		// Twice: the difficulty may rise, and reach further back, before another is found.
		n := new(big.Int).Mul(units(p.Times), units(network))
		n.Mul(n, big.NewInt(2)).Quo(n, big.NewInt(1_000_000_000_000)).Add(n, units(p.Add))
		for sum, err := range src.Sums(ctx) {
			if err != nil {
				return 0, err
			}
			if sum.Height < lowest {
				if n.Sign() <= 0 {
					break
				}
				lowest = sum.Height
			}
			n.Sub(n, units(sum.Work))
		}
	}
	// A share's time is not before its job's.
	day = never
	err = one(ctx, tx, "select coalesce(min("+earliest+") / 86400, $2) from places j left join jobs k on k.instance = j.instance and k.id = j.job where j.height >= $1", []any{lowest, never}, &day)
	return day, err
}

func units(x difficulty.Exact) *big.Int {
	high, low := x.Units()
	n := new(big.Int).SetUint64(high)
	return n.Lsh(n, 64).Add(n, new(big.Int).SetUint64(low))
}
