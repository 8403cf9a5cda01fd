package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/rewards"
	"github.com/ckpool/ckpool/internal/store/table"
	"github.com/ckpool/ckpool/work"
)

// poolBlock is a block that pays the pool, or that a pool has told of.
type poolBlock struct {
	Place
	told, passed   bool
	held, rewarded int64 // when
	found          int64
	state          Fate
	coinbase       []byte // empty: it was not seen in the chain
	ntime, value   int64
	outputs        string // of the coinbase that are in value; "": it is not known which
	posted         string
	reversals      int64
	parameters     string
	confirmations  int64 // 0: not in the chain
}

// What of a block is in the ledger.
const (
	postedHeld   = "held"
	postedReward = "reward"
	PostedMature = "matured"
)

const poolBlockColumns = "hash, height, told, passed, held, rewarded, found, state, coinbase, ntime, value, outputs, posted, reversals, parameters"

func (s *Store) poolBlocks(ctx context.Context, tx table.Tx, where string, args ...any) (list []poolBlock, err error) {
	var tip int64
	if err := one(ctx, tx, "select coalesce(max(height), 0) from chain", nil, &tip); err != nil {
		return nil, err
	}
	err = rows(ctx, tx, "select "+poolBlockColumns+" from chain_blocks where "+where, args, func(scan func(...any) error) error {
		var b poolBlock
		var hash []byte
		var told, passed int64
		err := scan(&hash, &b.Height, &told, &passed, &b.held, &b.rewarded, &b.found, &b.state, &b.coinbase, &b.ntime, &b.value, &b.outputs, &b.posted, &b.reversals, &b.parameters)
		copy(b.Hash[:], hash)
		b.told, b.passed = told != 0, passed != 0
		if b.state == InChain || b.state == Mature {
			b.confirmations = max(tip-b.Height+1, 0)
		}
		list = append(list, b)
		return err
	})
	return list, err
}

// name is the block's hash as people write it.
func (b *poolBlock) name() string { return work.FormatHash(b.Hash) }

// reference of what is posted of the block after n reversals.
func (b *poolBlock) reference(n int64) string {
	if n == 0 {
		return b.name()
	}
	return fmt.Sprintf("%s/%d", b.name(), n)
}

// Settle posts what is due of the pool's blocks to the ledger, the lowest block first, and
// says what that was. Each block is a transaction of its own; what fails is tried again by
// the next call.
//
// A block is rewarded when the journals of all instances that are not retired are stored
// past it, and all lower blocks are rewarded, orphaned, or passed by name: no share and no
// block can then come that would have counted.
//
// First it weighs the hours that ended: work that cannot have been done raises an alarm,
// and nothing is paid until somebody has booked it.
func (s *Store) Settle(ctx context.Context) (told []string, err error) {
	if told, err = s.weigh(ctx); err != nil {
		return told, err
	}
	for { // what was posted may make more due
		more, err := s.settleAll(ctx)
		told = append(told, more...)
		if len(more) == 0 || err != nil {
			return told, err
		}
	}
}

func (s *Store) settleAll(ctx context.Context) (told []string, err error) {
	var list []poolBlock
	if err := s.db.Read(ctx, func(tx table.Tx) error {
		list, err = s.poolBlocks(ctx, tx, "not (state = 'matured' and posted = 'matured' or state = 'orphaned' and posted = '') order by height, hash")
		return err
	}); err != nil {
		return nil, err
	}
	waits := false // a lower block
	for i := range list {
		b := &list[i]
		text, done, e := s.settle(ctx, b, waits)
		if text != "" {
			told = append(told, text)
		}
		if e != nil {
			err = errors.Join(err, fmt.Errorf("block %s at height %d: %w", b.name(), b.Height, e))
		}
		waits = waits || !done && !b.passed
	}
	return told, err
}

// settle posts what is due of a block; done says that higher ones need not wait for it.
func (s *Store) settle(ctx context.Context, b *poolBlock, waits bool) (told string, done bool, err error) {
	in := b.state == InChain || b.state == Mature
	switch {
	case b.state == IsOrphan:
		told, err = s.reverse(ctx, b)
		return told, true, err
	case b.rewarded == 0 && b.held == 0:
		if !in || len(b.coinbase) == 0 || b.told && waits || !b.told && b.confirmations < HoldAfter {
			return "", false, nil
		}
		if ready, err := s.complete(ctx, b.Height); err != nil || !ready {
			return "", false, err
		}
		if !b.told {
			told, err = s.hold(ctx, b)
			return told, err == nil, err
		}
		told, err = s.reward(ctx, b)
		return told, err == nil && told != "", err
	case b.rewarded == 0 && b.told && in && b.posted == postedHeld: // booked
		if ready, err := s.complete(ctx, b.Height); err != nil || !ready {
			return "", true, err
		}
		if told, err = s.reward(ctx, b); err != nil || told == "" {
			return told, true, err
		}
		return told, true, nil
	case in && b.posted == "":
		told, err = s.again(ctx, b)
	case b.state == Mature && b.posted == postedReward:
		told, err = s.mature(ctx, b)
	}
	return told, true, err
}

// HoldAfter is how many confirmations a coinbase has before its money is held since no pool
// has told of it. A pool that was retired and goes on, or is new, is not waited for: what it
// tells may come a moment later than its block. No coin is spent before 100.
const HoldAfter = 6

// settleAfter is how much later than its first job at a greater height an instance's
// journal must be stored: shares of the height below are stale long before.
const settleAfter = time.Minute

// complete tells whether no further share of a height or a lower one can come, nor a block:
// what journals told since the chain was followed last is to be taken over first. Times are
// compared with those of the same instance alone.
func (s *Store) complete(ctx context.Context, height int64) (yes bool, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		list, err := s.awaited(ctx, tx, height)
		if err != nil || len(list) > 0 {
			return err
		}
		var start, told int64
		if err := one(ctx, tx, "select start from chain_head", nil, &start); err != nil {
			return err
		}
		if start, err = s.starts(ctx, tx, start); err != nil {
			return err
		}
		err = one(ctx, tx, "select count(*) "+untaken+" and b.height <= $2", []any{start, height}, &told)
		yes = told == 0
		return err
	})
	return yes && err == nil, err
}

// Awaited are the instances whose journals are not stored past a height yet.
func (s *Store) Awaited(ctx context.Context, height int64) (list []Instance, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		list, err = s.awaited(ctx, tx, height)
		return err
	})
	return list, err
}

func (s *Store) awaited(ctx context.Context, tx table.Tx, height int64) (list []Instance, err error) {
	at, err := s.present(ctx, tx)
	if err != nil {
		return nil, err
	}
	retired, _, err := s.setting(ctx, tx, SettingRetired, 0, at, satoshis)
	if err != nil {
		return nil, err
	}
	// An instance with jobs, of which none can be computed anew, was imported; so was one of
	// which something is stored, none of it jobs, and which is no journal's: these have lives.
	err = rows(ctx, tx, `select i.uid, i.name, i.network from instances i
		where not exists (select 1 from jobs j where j.instance = i.id and j.height > $1 and j.created <= i.at - $2 and length(j.record) > 0)
		and (exists (select 1 from jobs j where j.instance = i.id and length(j.record) > 0) or not exists (select 1 from jobs j where j.instance = i.id) and (i.number = 0 or i.life <> ''))
		order by i.name, i.uid`, []any{height, settleAfter.Microseconds()}, func(scan func(...any) error) error {
		var v Instance
		var uid []byte
		err := scan(&uid, &v.Name, &v.Network)
		copy(v.ID[:], uid)
		if err == nil && !slices.Contains(strings.Split(retired, ","), hex.EncodeToString(uid)) {
			list = append(list, v)
		}
		return err
	})
	return list, err
}

// locked reads a block anew and keeps it from others until the end of tx; ok is false if
// it has changed in what decides about its money.
func (s *Store) locked(ctx context.Context, tx table.Tx, b *poolBlock) (ok bool, err error) {
	list, err := s.poolBlocks(ctx, tx, "hash = $1"+s.db.Lock(), b.Hash[:])
	if err != nil || len(list) == 0 {
		return false, err
	}
	n := &list[0]
	return n.state == b.state && n.posted == b.posted && n.reversals == b.reversals && n.told == b.told && n.held == b.held && n.rewarded == b.rewarded &&
		n.value == b.value && n.outputs == b.outputs && bytes.Equal(n.coinbase, b.coinbase), nil
}

// hold keeps the money of a coinbase that no pool has told of.
func (s *Store) hold(ctx context.Context, b *poolBlock) (told string, err error) {
	err = s.change(ctx, func(tx table.Tx) error {
		told = ""
		if ok, err := s.locked(ctx, tx, b); err != nil || !ok {
			return err
		}
		if _, err := s.post(ctx, tx, Transaction{Kind: Hold, Reference: b.name(), Note: fmt.Sprintf("coinbase of block %d, of which no pool told", b.Height),
			Entries: []Entry{{Chain, Owner{}, -b.value}, {Held, Owner{}, b.value}}}); err != nil {
			return err
		}
		told = b.unknown()
		if _, err := tx.Exec(ctx, "update chain_blocks set held = $2, posted = $3 where hash = $1", b.Hash[:], now(), postedHeld); err != nil {
			return err
		}
		return s.alarm(ctx, tx, b.name(), unknownCoinbase, told)
	})
	return told, err
}

// unknownCoinbase is what alarms are called of blocks whose money is held.
const unknownCoinbase = "unknown coinbase"

// unknown is the text of such an alarm.
func (b *poolBlock) unknown() string {
	return fmt.Sprintf("Block %s at height %d pays the pool %s, and no pool has told of it: they are held until somebody books it", b.name(), b.Height, figures.Things(b.value, "satoshi"))
}

// computation is a reward and what it was computed from.
type computation struct {
	*rewards.Reward
	settings int64  // number of the last setting
	places   int64  // that it may have been computed from
	previous string // block of a proportional reward, as people write it; "" there is none
	from     int64  // lowest height that counts; 0: all do
}

// computed is what is kept of a reward beside what was posted.
type computed struct {
	Parameters rewards.Parameters `json:"parameters"`
	Window     rewards.Window     `json:"window"`
	Previous   string             `json:"previous"`
	// From is the height that the window begins at since it would have begun in the one
	// below, of which single shares were dropped before a setting made it longer.
	From int64 `json:"from,omitempty"`
}

// compute computes the reward of a block; to a file with all of its inputs where to is
// not nil.
func (s *Store) compute(ctx context.Context, b *poolBlock, to io.Writer) (c computation, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		if err := one(ctx, tx, "select coalesce(max(number), 0) from settings", nil, &c.settings); err != nil {
			return err
		}
		src := &shareSource{store: s, tx: tx}
		if err := one(ctx, tx, "select number from ledger where kind = $1 and reference = $2", []any{string(Reward), b.name()}, &src.rewarded); err != nil {
			return err
		}
		if src.block, err = s.findShare(ctx, tx, b); err != nil {
			return err
		}
		if src.block.instance == 0 {
			return errors.New("neither its share nor its job is in the database: it has to be booked by name")
		}
		block := rewards.Block{Hash: b.Hash, Height: b.Height, Value: b.value, Difficulty: src.block.network, Instance: src.block.id, Finder: src.block.account}
		p, err := s.parameters(ctx, tx, b, src)
		if err != nil {
			return err
		}
		if p.Scheme == rewards.Solo {
			if block.Direct, err = s.direct(ctx, tx, b, block.Finder); err != nil {
				return err
			}
		}
		if b.rewarded != 0 && b.parameters != "" {
			var was computed
			if err := json.Unmarshal([]byte(b.parameters), &was); err != nil {
				return err
			}
			src.from = was.From
		}
		if b.rewarded != 0 {
			if err := src.kept(ctx, &p); err != nil {
				return err
			}
		}
		if to == nil || b.rewarded == 0 {
			c.Reward, err = rewards.Compute(ctx, block, p, src)
			if less, ok := errors.AsType[*rewards.LessError](err); ok && b.rewarded == 0 && less.Height < b.Height {
				dropped, e := src.dropped(ctx, less.Height)
				if e != nil {
					return e
				}
				if dropped {
					src.from = less.Height + 1
					c.Reward, err = rewards.Compute(ctx, block, p, src)
				}
			}
		}
		if err == nil && to != nil {
			c.Reward, err = rewards.Export(ctx, to, block, p, src)
		}
		if less, ok := errors.AsType[*rewards.LessError](err); ok && b.rewarded != 0 {
			if dropped, e := src.dropped(ctx, less.Height); e != nil || dropped {
				return cmp.Or(e, ErrDropped)
			}
		}
		if err != nil {
			return err
		}
		c.previous, c.from = src.previousName, src.from
		c.places, err = countPlaces(ctx, tx, c.Reward)
		return err
	})
	return c, err
}

// parameters are those that hold for a block.
func (s *Store) parameters(ctx context.Context, tx table.Tx, b *poolBlock, src *shareSource) (p rewards.Parameters, err error) {
	text := map[string]string{}
	for _, name := range rewarding {
		if text[name], _, err = s.setting(ctx, tx, name, 0, b.found, b.Height); err != nil {
			return p, err
		}
	}
	p.Scheme = rewards.Scheme(text[SettingScheme])
	if src.block.solo {
		p.Scheme = rewards.Solo
	}
	if p.Fee, err = strconv.ParseInt(text[SettingFee], 10, 64); err != nil {
		return p, err
	}
	if p.Times, err = difficulty.ParseExact(text[SettingTimes]); err != nil {
		return p, err
	}
	if p.Add, err = difficulty.ParseExact(text[SettingAdd]); err != nil {
		return p, err
	}
	ids := map[int64]rewards.Account{}
	if err := rows(ctx, tx, "select distinct a.id, a.kind, a.folded from settings s join accounts a on a.id = s.account where s.name = $1", []any{SettingFee}, func(scan func(...any) error) error {
		var id int64
		var a rewards.Account
		err := scan(&id, &a.Kind, &a.Name)
		ids[id] = a
		return err
	}); err != nil {
		return p, err
	}
	for id, a := range ids {
		value, found, err := s.setting(ctx, tx, SettingFee, id, b.found, b.Height)
		if err != nil {
			return p, err
		}
		if found {
			if p.Fees == nil {
				p.Fees = map[rewards.Account]int64{}
			}
			if p.Fees[a], err = strconv.ParseInt(value, 10, 64); err != nil {
				return p, err
			}
		}
	}
	if p.Scheme != rewards.Proportional {
		return p, nil
	}
	list, err := s.previous(ctx, tx, b)
	if err != nil || len(list) == 0 {
		return p, err
	}
	previous, err := s.findShare(ctx, tx, &list[0])
	if err == nil {
		err = one(ctx, tx, "select number from ledger where kind = $1 and reference = $2", []any{string(Reward), list[0].name()}, &src.previousRewarded)
	}
	p.Previous, src.previous, src.previousName = min(list[0].Height, previous.height), &previous, list[0].name()
	return p, err
}

// previous is the block whose reward comes before that of another: one that the chain has, and
// not one that another block has taken the place of and that may be orphaned soon. Of a block
// that is rewarded it is the one that it was then, whatever became of that since.
func (s *Store) previous(ctx context.Context, tx table.Tx, b *poolBlock) ([]poolBlock, error) {
	if b.rewarded == 0 || b.parameters == "" {
		return s.poolBlocks(ctx, tx, "height < $1 and rewarded > 0 and state in ('confirmed', 'matured') order by height desc, hash limit 1", b.Height)
	}
	var was computed
	if err := json.Unmarshal([]byte(b.parameters), &was); err != nil || was.Previous == "" {
		return nil, err
	}
	hash, err := work.ParseHash(was.Previous)
	if err != nil {
		return nil, err
	}
	return s.poolBlocks(ctx, tx, "hash = $1", hash[:])
}

// direct is what the coinbase of a block pays the address of who found it, beside what is
// the pool's.
func (s *Store) direct(ctx context.Context, tx table.Tx, b *poolBlock, finder rewards.Account) (total int64, err error) {
	a, err := address.Parse(finder.Name)
	if err != nil || finder.Kind != string(Address) {
		return 0, nil // whatever it is paid, is paid by the ledger
	}
	own, err := s.ownOutputs(ctx, tx, b)
	if err != nil {
		return 0, err
	}
	_, outputs, err := work.DecodeCoinbase(b.coinbase)
	for i, o := range outputs {
		if bytes.Equal(o.Script, a.Script()) && !slices.Contains(own, i) {
			total += o.Value
		}
	}
	return total, err
}

// reward computes and posts the reward of a block. It is posted to immature books.
func (s *Store) reward(ctx context.Context, b *poolBlock) (told string, err error) {
	// What is being stored may not know of the block, and that its shares are late.
	if err := s.change(ctx, func(tx table.Tx) error { return s.halt(ctx, tx) }); err != nil {
		return "", err
	}
	c, err := s.compute(ctx, b, nil)
	if err != nil {
		return "", err
	}
	return s.postReward(ctx, b, c)
}

// postReward posts what was computed, if all is as it was then.
func (s *Store) postReward(ctx context.Context, b *poolBlock, c computation) (told string, err error) {
	entries := []Entry{{FeeImmature, Owner{}, c.Fee}, {Chain, Owner{}, -c.Block.Direct}}
	from := Chain
	if b.held != 0 {
		from = Held
	}
	entries = append(entries, Entry{from, Owner{}, -c.Block.Value})
	for _, k := range c.Credits {
		entries = append(entries, Entry{Immature, Owner{Kind(k.Account.Kind), k.Account.Name}, k.Amount})
	}
	parameters, err := json.Marshal(computed{c.Parameters, c.Window, c.previous, c.from})
	if err != nil {
		return "", err
	}
	err = s.change(ctx, func(tx table.Tx) error {
		told = ""
		if ok, err := s.still(ctx, tx, &c); err != nil {
			return err
		} else if !ok {
			return errors.New("jobs came while it was computed; it is computed again")
		}
		if ok, err := s.locked(ctx, tx, b); err != nil || !ok {
			return err
		}
		posted, err := s.post(ctx, tx, Transaction{Kind: Reward, Reference: b.name(), Note: fmt.Sprintf("block %d, %s", b.Height, c.Parameters.Scheme), Entries: entries})
		if err != nil {
			return err
		}
		// Who sets something waits for the ledger as well.
		var settings int64
		if err := one(ctx, tx, "select coalesce(max(number), 0) from settings", nil, &settings); err != nil {
			return err
		}
		if settings != c.settings {
			return errors.New("a setting was changed while it was computed")
		}
		if d := c.Block.Direct; d > 0 {
			finder := Owner{Kind(c.Block.Finder.Kind), c.Block.Finder.Name}
			if _, err := s.post(ctx, tx, Transaction{Kind: Payout, Reference: b.name(), Note: "paid by the coinbase itself",
				Entries: []Entry{{Immature, finder, -d}, {Chain, Owner{}, d}}}); err != nil {
				return err
			}
		}
		told = fmt.Sprintf("Block %s at height %d: %s for %s, %s of fee, held until it is mature", b.name(), b.Height,
			figures.Things(c.Divided, "satoshi"), figures.Things(int64(len(c.Credits)), "account"), figures.Count(c.Fee))
		if c.from > 0 {
			told += fmt.Sprintf("; its window is shorter than is set and begins at height %d, since single shares of the one below were dropped", c.from)
		}
		_, err = tx.Exec(ctx, "update chain_blocks set rewarded = $2, posted = $3, parameters = $4 where hash = $1", b.Hash[:], posted.At, postedReward, string(parameters))
		return err
	})
	return told, err
}

// ofBlock are the kinds of what is posted of blocks.
const ofBlock = "t.kind in ('reward', 'maturity', 'orphan', 'return', 'hold', 'payout')"

// net is the sum of what was posted of a block, by book.
func (s *Store) net(ctx context.Context, tx table.Tx, where string, args ...any) ([]Entry, error) {
	list, err := transactions(ctx, tx, where, args...)
	if err != nil {
		return nil, err
	}
	var all []Entry
	for _, t := range list {
		all = append(all, t.Entries...)
	}
	return tidy(all)
}

// whole is all that was posted of a block, corrections of that too.
func (s *Store) whole(ctx context.Context, tx table.Tx, b *poolBlock) ([]Entry, error) {
	return s.net(ctx, tx, ofBlock+" and (t.reference = $1 or t.reference like $2) or t.kind = 'correction' and (t.reference like $3 or t.reference like $4)",
		b.name(), b.name()+"/%", "% of "+b.name(), "% of "+b.name()+"/%")
}

// posts posts what make says of a block, which then is posted as so.
func (s *Store) posts(ctx context.Context, b *poolBlock, kind Posting, posted string, reversals int64, text string, make func(tx table.Tx) ([]Entry, error)) (told string, err error) {
	err = s.change(ctx, func(tx table.Tx) error {
		told = ""
		if ok, err := s.locked(ctx, tx, b); err != nil || !ok {
			return err
		}
		// After the ledger's lock, so that all of the block is seen.
		var last int64
		if err := one(ctx, tx, "select last from ledger_head"+s.db.Lock(), nil, &last); err != nil {
			return err
		}
		entries, err := make(tx)
		if err != nil {
			return err
		}
		if _, err := s.post(ctx, tx, Transaction{Kind: kind, Reference: b.reference(reversals), Note: fmt.Sprintf("block %d", b.Height), Entries: entries}); err != nil {
			return err
		}
		told = fmt.Sprintf("Block %s at height %d: %s", b.name(), b.Height, text)
		_, err = tx.Exec(ctx, "update chain_blocks set posted = $2, reversals = $3 where hash = $1", b.Hash[:], posted, reversals)
		return err
	})
	return told, err
}

// reverse takes back all that was posted of a block that is orphaned.
func (s *Store) reverse(ctx context.Context, b *poolBlock) (string, error) {
	return s.posts(ctx, b, Orphaned, "", b.reversals+1, "orphaned; what was posted of it is taken back", func(tx table.Tx) ([]Entry, error) {
		list, err := s.whole(ctx, tx, b)
		for i := range list {
			list[i].Amount = -list[i].Amount
		}
		if err == nil && b.held != 0 { // there is nothing to book any more
			_, err = tx.Exec(ctx, "update alarms set ended = $3 where subject = $1 and what = $2 and ended = 0", b.name(), unknownCoinbase, now())
		}
		return list, err
	})
}

// again posts what was taken back of a block that is in the chain again.
func (s *Store) again(ctx context.Context, b *poolBlock) (string, error) {
	posted := postedReward
	if b.rewarded == 0 {
		posted = postedHeld
	}
	return s.posts(ctx, b, Return, posted, b.reversals, "in the chain again, and so is its money", func(tx table.Tx) ([]Entry, error) {
		list, err := s.net(ctx, tx, "t.kind in ('hold', 'reward', 'payout') and t.reference = $1 or t.kind = 'correction' and (t.reference like $2 or t.reference like $3)",
			b.name(), "% of "+b.name(), "% of "+b.name()+"/%")
		for i := range list { // what was corrected when it was mature is held as well
			if book := map[Book]Book{Balance: Immature, Fee: FeeImmature}[list[i].Book]; book != "" {
				list[i].Book = book
			}
		}
		if err == nil && posted == postedHeld && !b.told {
			err = s.alarm(ctx, tx, b.name(), unknownCoinbase, b.unknown())
		}
		return list, err
	})
}

// mature moves what is held of a block to where it is paid from.
func (s *Store) mature(ctx context.Context, b *poolBlock) (string, error) {
	return s.posts(ctx, b, Maturity, PostedMature, b.reversals, "mature", func(tx table.Tx) ([]Entry, error) {
		list, err := s.whole(ctx, tx, b)
		var moved []Entry
		for _, e := range list {
			to := map[Book]Book{Immature: Balance, FeeImmature: Fee}[e.Book]
			if to != "" && (e.Amount != 0 || e.Book == FeeImmature) {
				moved = append(moved, Entry{e.Book, e.Owner, -e.Amount}, Entry{to, e.Owner, e.Amount})
			}
		}
		return moved, err
	})
}
