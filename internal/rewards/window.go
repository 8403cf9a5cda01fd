package rewards

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"math/bits"
	"slices"

	"github.com/ckpool/ckpool/difficulty"
)

// maxWork is the most work in one window: sums of two such do not overflow.
var maxWork = difficulty.MaxExact

// window is one that is filled, from its newest shares to the oldest: whole heights,
// then, if the rest of them is more than wanted, one share after the other.
type window struct {
	block      Block
	parameters Parameters
	Window
	record *writer // may be nil

	numbers  map[Account]int
	accounts []Account
	work     []difficulty.Exact // of each account, in the window
	next     int                // the account behind the last one: most sources have them in some order

	height level // that is being read
	seen   bool  // any sum
	ended  bool  // no more is wanted
	edge   *edge // of the last height
}

// level is the sums of one height.
type level struct {
	height    int64
	work      difficulty.Exact
	instances []*instanceSums // by id
	last      *instanceSums   // that was added to
}

// instanceSums is the work of one instance at one height.
type instanceSums struct {
	id       Instance
	work     difficulty.Exact
	accounts []difficulty.Exact // by number
	some     []int              // the accounts that have any
}

func newWindow(b Block, p Parameters) (*window, error) {
	if err := check(&b, &p); err != nil {
		return nil, err
	}
	w := &window{block: b, parameters: p, numbers: make(map[Account]int)}
	if p.Scheme == PPLNS {
		n, err := wanted(&b, &p)
		if err != nil {
			return nil, err
		}
		w.Wanted = n
	}
	return w, nil
}

// number of an account. Accounts have them in the order that they come in.
func (w *window) number(a Account) (int, error) {
	if w.next < len(w.accounts) && w.accounts[w.next] == a {
		w.next++
		return w.next - 1, nil
	}
	if n, ok := w.numbers[a]; ok {
		w.next = n + 1
		return n, nil
	}
	if err := a.check(); err != nil {
		return 0, err
	}
	n := len(w.accounts)
	w.numbers[a] = n
	w.accounts = append(w.accounts, a)
	w.work = append(w.work, difficulty.Exact{})
	return n, nil
}

// read fills the window from a source.
func (w *window) read(ctx context.Context, s Source) error {
	for sum, err := range s.Sums(ctx) {
		if err != nil {
			return fmt.Errorf("sums of shares: %w", err)
		}
		if sum.Solo || sum.Work.IsZero() {
			continue
		}
		n, err := w.number(sum.Account)
		if err == nil {
			err = w.add(sum.Height, sum.Instance, n, sum.Work)
		}
		if err != nil {
			return err
		}
		if w.ended {
			break
		}
	}
	if err := w.end(); err != nil || w.edge == nil {
		return err
	}
	if err := w.readEdge(ctx, s); err != nil {
		return err
	}
	return w.edge.finish()
}

// add puts the work of an account at a height into the window. When a height is
// complete, which is when a lower one comes, it may turn out that no more is wanted.
func (w *window) add(height int64, of Instance, account int, work difficulty.Exact) error {
	switch {
	case !w.seen && height > w.block.Height:
		return fmt.Errorf("shares of height %d are above the block", height)
	case height < 0 || w.parameters.Scheme == Proportional && height < w.parameters.Previous:
		return fmt.Errorf("shares of height %d are below the previous block, at %d", height, w.parameters.Previous)
	case w.seen && height > w.height.height:
		return fmt.Errorf("shares of height %d come behind those of %d", height, w.height.height)
	case w.seen && height < w.height.height:
		if err := w.end(); err != nil || w.ended {
			return err
		}
	}
	w.seen, w.height.height = true, height
	l := &w.height
	if l.last == nil || l.last.id != of {
		i, ok := slices.BinarySearchFunc(l.instances, of, func(i *instanceSums, id Instance) int { return bytes.Compare(i.id[:], id[:]) })
		if !ok {
			if len(l.instances) == maxInstances {
				return fmt.Errorf("height %d has shares of more than %d instances", height, maxInstances)
			}
			l.instances = slices.Insert(l.instances, i, &instanceSums{id: of})
		}
		l.last = l.instances[i]
	}
	if work.Cmp(maxWork) > 0 {
		return tooMuch(height)
	}
	l.work = l.work.Add(work)
	if l.work.Cmp(maxWork) > 0 {
		return tooMuch(height)
	}
	l.last.add(account, work)
	return nil
}

// maxInstances bounds the memory that a file can ask for.
const maxInstances = 10_000

func tooMuch(height int64) error {
	return fmt.Errorf("shares of height %d are more work than %s", height, maxWork)
}

func (i *instanceSums) add(account int, work difficulty.Exact) {
	if account >= len(i.accounts) {
		i.accounts = append(i.accounts, make([]difficulty.Exact, account+1-len(i.accounts))...)
	}
	if i.accounts[account].IsZero() {
		i.some = append(i.some, account)
	}
	i.accounts[account] = i.accounts[account].Add(work)
	i.work = i.work.Add(work)
}

// end closes the height that was read: it is in the window as a whole, or it is the
// window's edge, and shares one by one tell what of it is.
func (w *window) end() error {
	l := &w.height
	if w.ended || l.work.IsZero() {
		return nil
	}
	if w.record != nil {
		if err := w.record.level(w, l); err != nil {
			return err
		}
	}
	if w.Heights == 0 {
		w.Highest = l.height
	}
	w.Heights++
	w.Lowest = l.height
	if room := w.Wanted.IsZero() || w.Work.Add(l.work).Cmp(w.Wanted) <= 0; !room {
		w.ended = true
		w.edge = newEdge(w)
		return nil
	}
	w.Work = w.Work.Add(l.work)
	if w.Work.Cmp(maxWork) > 0 {
		return tooMuch(l.height)
	}
	for _, i := range l.instances {
		for _, n := range i.some {
			w.work[n] = w.work[n].Add(i.accounts[n])
			i.accounts[n] = difficulty.Exact{}
		}
		// Kept for the next height, which has the same instances mostly.
		i.some, i.work = i.some[:0], difficulty.Exact{}
	}
	l.work = difficulty.Exact{}
	w.Full = !w.Wanted.IsZero() && w.Work == w.Wanted
	w.ended = w.Full
	return nil
}

// edge is the height at which a window begins, and its shares in their order.
type edge struct {
	*window
	level *level
	skip  difficulty.Exact // what of the height is older than the window
	past  difficulty.Exact // work of the shares so far
	read  []*instanceSums  // the shares so far, in the order of level.instances
	last  position
	cut   Cut
}

func newEdge(w *window) *edge {
	w.height.instances = slices.DeleteFunc(w.height.instances, func(i *instanceSums) bool { return i.work.IsZero() })
	e := &edge{window: w, level: &w.height}
	e.skip = w.height.work.Sub(w.Wanted.Sub(w.Work))
	e.cut = Cut{Height: w.height.height, Work: w.height.work, Left: e.skip}
	for _, i := range w.height.instances {
		e.read = append(e.read, &instanceSums{id: i.id})
	}
	return e
}

// share is the next one in the order of shares. Its instance has a number in
// level.instances.
func (e *edge) share(instance, account int, work difficulty.Exact) error {
	sums, read := e.level.instances[instance], e.read[instance]
	if work.Cmp(sums.work.Sub(read.work)) > 0 {
		return e.differ(instance)
	}
	read.add(account, work)
	at := position{read.work, sums.work, read.id}
	if e.last.compare(at) >= 0 {
		return fmt.Errorf("share of %s at height %d, instance %s, is not in the order of shares", e.accounts[account], e.level.height, read.id)
	}
	e.last = at
	before := e.past
	e.past = e.past.Add(work)
	if e.past.Cmp(e.skip) <= 0 {
		return nil
	}
	kept := work
	if before.Cmp(e.skip) < 0 {
		kept = e.past.Sub(e.skip)
	}
	if e.cut.Shares == 0 {
		e.cut.Instance, e.cut.Account, e.cut.Share, e.cut.Kept = read.id, e.accounts[account], work, kept
	}
	e.cut.Shares++
	e.work[account] = e.work[account].Add(kept)
	e.window.Work = e.window.Work.Add(kept)
	return nil
}

// finish checks that the shares were those of the sums.
func (e *edge) finish() error {
	for n, sums := range e.level.instances {
		read := e.read[n]
		if read.work != sums.work {
			return e.differ(n)
		}
		for _, account := range sums.some {
			var work difficulty.Exact
			if account < len(read.accounts) {
				work = read.accounts[account]
			}
			if work != sums.accounts[account] {
				return fmt.Errorf("height %d, instance %s: the shares of %s are %s, the sum of them says %s",
					e.level.height, sums.id, e.accounts[account], work, sums.accounts[account])
			}
		}
	}
	e.Full, e.window.Cut = true, &e.cut
	return nil
}

func (e *edge) differ(n int) error {
	sums, read := e.level.instances[n], e.read[n]
	if read.work == sums.work {
		return fmt.Errorf("height %d, instance %s: the sums are %s, single shares are more than that", e.level.height, sums.id, sums.work)
	}
	return &LessError{e.level.height, sums.id, sums.work}
}

// LessError tells that at the height where a window begins there are fewer single shares
// than make the sum of them.
type LessError struct {
	Height   int64
	Instance Instance
	Work     difficulty.Exact // the sum
}

func (e *LessError) Error() string {
	return fmt.Sprintf("height %d, instance %s: the sums are %s, single shares are less than that", e.Height, e.Instance, e.Work)
}

// position of a share among those of one height. The zero position is before all.
type position struct {
	work  difficulty.Exact // of its instance, up to and including it
	whole difficulty.Exact // of its instance
	id    Instance
}

func (p position) compare(q position) int {
	if p.work.IsZero() {
		return -1
	}
	if c := compareProducts(p.work, q.whole, q.work, p.whole); c != 0 {
		return c
	}
	return bytes.Compare(p.id[:], q.id[:])
}

// compareProducts compares a·b with c·d.
func compareProducts(a, b, c, d difficulty.Exact) int {
	x, y := product(a, b), product(c, d)
	return slices.Compare(x[:], y[:])
}

// product is the 256 bits of x·y in units, the most significant first.
func product(x, y difficulty.Exact) (p [4]uint64) {
	xh, xl := x.Units()
	yh, yl := y.Units()
	var carry uint64
	p[2], p[3] = bits.Mul64(xl, yl)
	p[0], p[1] = bits.Mul64(xh, yh)
	for _, m := range [2][2]uint64{{xh, yl}, {xl, yh}} {
		hi, lo := bits.Mul64(m[0], m[1])
		p[2], carry = bits.Add64(p[2], lo, 0)
		p[1], carry = bits.Add64(p[1], hi, carry)
		p[0] += carry
	}
	return p
}

// readEdge reads the shares of the window's edge, of all instances at once, in the
// order of shares.
func (w *window) readEdge(ctx context.Context, s Source) error {
	e := w.edge
	// next is the share of an instance that comes next.
	type next struct {
		position
		instance int // of level.instances
		share    Share
		pull     func() (Share, error, bool)
	}
	var waiting []*next // the first in order is the last here
	put := func(n *next) error {
		for {
			share, err, ok := n.pull()
			switch {
			case err != nil:
				return fmt.Errorf("shares of height %d, instance %s: %w", e.level.height, n.id, err)
			case !ok:
				return nil
			case share.Solo || share.Work.IsZero():
				continue
			case share.Work.Cmp(maxWork) > 0:
				return tooMuch(e.level.height)
			}
			if n.work = n.work.Add(share.Work); n.work.Cmp(maxWork) > 0 {
				return tooMuch(e.level.height)
			}
			n.share = share
			break
		}
		i, _ := slices.BinarySearchFunc(waiting, n, func(a, b *next) int {
			return cmp.Compare(0, a.compare(b.position))
		})
		waiting = slices.Insert(waiting, i, n)
		return nil
	}
	for i, sums := range e.level.instances {
		pull, stop := iter.Pull2(s.Shares(ctx, e.level.height, sums.id))
		defer stop()
		n := &next{position: position{whole: sums.work, id: sums.id}, instance: i, pull: pull}
		if err := put(n); err != nil {
			return err
		}
	}
	for len(waiting) > 0 {
		n := waiting[len(waiting)-1]
		waiting = waiting[:len(waiting)-1]
		account, err := w.number(n.share.Account)
		if err != nil {
			return err
		}
		if err := e.share(n.instance, account, n.share.Work); err != nil {
			return err
		}
		if w.record != nil {
			if err := w.record.share(w, n.id, account, n.share.Work); err != nil {
				return err
			}
		}
		if err := put(n); err != nil {
			return err
		}
	}
	return nil
}
