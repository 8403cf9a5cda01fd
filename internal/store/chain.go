package store

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/ckpool/ckpool/internal/store/table"
	"github.com/ckpool/ckpool/work"
)

// What is taken for true of the chain.
const (
	// MaturedAt is how many confirmations a coinbase has when it is paid from: consensus
	// lets it be spent at 100, the wallet of Bitcoin Core at 101.
	MaturedAt = 101
	// OrphanedAt is how many confirmations the block has that stands in a block's place
	// when that is taken for orphaned.
	OrphanedAt = 6
	// ChainKept are the newest blocks of the chain whose hashes are kept: the deepest
	// reorganisation that is followed.
	ChainKept = 1000
)

// Fate of a block, as the node has it that is followed.
type Fate string

// Fates.
const (
	New      Fate = "new"       // told by a pool; not in the chain
	InChain  Fate = "confirmed" // with less than MaturedAt confirmations
	Mature   Fate = "matured"
	IsOrphan Fate = "orphaned"
)

// Place is a block of the chain.
type Place struct {
	Height int64
	Hash   [32]byte // internal order
}

// ChainBlock is what is stored of a block of the chain.
type ChainBlock struct {
	Place
	Previous [32]byte // hash of the block below
	NTime    uint32   // of its header
	Coinbase []byte   // without witness
}

// ErrPlace tells that the place in the chain is another by now: another process follows
// it, or something came that has to be looked for in blocks that were passed.
var ErrPlace = errors.New("the place in the chain is another by now")

// Follow says where the chain is to be followed on: the blocks that are kept of it, the
// newest first, and the height of the first block that is wanted where none is kept; that
// is above all where no pool has told of a job yet.
//
// It first takes over what pools told since: their blocks and the scripts of their jobs.
// Where those are of heights that were passed, it goes back.
func (s *Store) Follow(ctx context.Context) (kept []Place, first int64, err error) {
	err = s.change(ctx, func(tx table.Tx) error {
		if err := one(ctx, tx, "select start from chain_head"+s.db.Lock(), nil, &first); err != nil {
			return err
		}
		start, back, err := s.learnScripts(ctx, tx, first)
		if err != nil {
			return err
		}
		if start != first {
			if _, err := tx.Exec(ctx, "update chain_head set start = $1", start); err != nil {
				return err
			}
		}
		first = start
		if start, err = s.starts(ctx, tx, first); err != nil {
			return err
		}
		told, err := s.learnBlocks(ctx, tx, start)
		if err != nil {
			return err
		}
		if back = min(back, told); back < nowhere {
			n, err := tx.Exec(ctx, "delete from chain where height >= $1", back)
			if err != nil {
				return err
			}
			if first = min(first, back); n > 0 { // what is below was followed
				first = back
			}
		}
		kept, err = s.chain(ctx, tx)
		return err
	})
	return kept, first, err
}

// starts is the height of the first block that is rewarded, which is that of the first job
// where nobody has said another.
func (s *Store) starts(ctx context.Context, tx table.Tx, first int64) (int64, error) {
	at, err := s.present(ctx, tx)
	if err != nil {
		return first, err
	}
	text, found, err := s.setting(ctx, tx, SettingStart, 0, at, satoshis)
	if err != nil || !found {
		return first, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// chain is what is kept of it, the newest first.
func (s *Store) chain(ctx context.Context, tx table.Tx) (kept []Place, err error) {
	err = rows(ctx, tx, "select height, hash from chain order by height desc", nil, func(scan func(...any) error) error {
		var p Place
		var hash []byte
		err := scan(&p.Height, &hash)
		copy(p.Hash[:], hash)
		kept = append(kept, p)
		return err
	})
	return kept, err
}

// nowhere is above all heights.
const nowhere = 1 << 50

// learnScripts finds the scripts of new jobs, and where those begin that were not known;
// and the height of the first job of all.
func (s *Store) learnScripts(ctx context.Context, tx table.Tx, start int64) (first, back int64, err error) {
	known, err := s.scripts(ctx, tx, ever)
	if err != nil {
		return 0, 0, err
	}
	first, back = start, nowhere
	type place struct{ instance, epoch, number int64 }
	var places []place
	if err := rows(ctx, tx, "select i.id, coalesce(c.epoch, 0), coalesce(c.number, 0) from instances i left join chain_jobs c on c.instance = i.id order by i.id", nil,
		func(scan func(...any) error) error {
			var p place
			err := scan(&p.instance, &p.epoch, &p.number)
			places = append(places, p)
			return err
		}); err != nil {
		return 0, 0, err
	}
	for _, p := range places {
		at := p
		var fresh [][]byte
		var given []int64
		if err := rows(ctx, tx, `select epoch, number, id, height, record from jobs where instance = $1 and (epoch > $2 or epoch = $2 and number > $3)
			and length(record) > 0 order by epoch, number limit $4`, []any{p.instance, p.epoch, p.number, s.jobsAtOnce}, func(scan func(...any) error) error {
			var id, height int64
			var record []byte
			if err := scan(&at.epoch, &at.number, &id, &height, &record); err != nil {
				return err
			}
			script, above, err := payoutScript(record)
			if err != nil {
				return fmt.Errorf("record %d/%d of instance %d: %w", at.epoch, at.number, p.instance, err)
			}
			if above {
				given = append(given, id)
				return nil
			}
			if height < first {
				first, back = height, height
			}
			if len(script) > 0 && !known[string(script)] {
				known[string(script)] = true
				fresh, back = append(fresh, script), min(back, height)
			}
			return nil
		}); err != nil {
			return 0, 0, err
		}
		if len(given) > 0 { // an earlier version gave them places
			if _, err := tx.Exec(ctx, "delete from places where instance = $1 and job "+s.db.In(2), p.instance, s.db.List(given)); err != nil {
				return 0, 0, err
			}
		}
		for _, script := range fresh {
			if _, err := tx.Exec(ctx, "insert into chain_scripts (script, at) values ($1, $2) on conflict do nothing", script, now()); err != nil {
				return 0, 0, err
			}
		}
		if at != p {
			if _, err := tx.Exec(ctx, `insert into chain_jobs (instance, epoch, number) values ($1, $2, $3)
				on conflict (instance) do update set epoch = excluded.epoch, number = excluded.number`, at.instance, at.epoch, at.number); err != nil {
				return 0, 0, err
			}
		}
	}
	return first, back, nil
}

// payoutScript is that of the output of a job's coinbase that is the pool's; nil in solo, and
// where another pool has made the coinbase, which above tells.
func payoutScript(record []byte) (script []byte, above bool, err error) {
	var r work.JobReader
	j, err := r.Read(record)
	if err != nil || j.Solo || j.Given() {
		return nil, err == nil && j.Given(), err
	}
	c := j.Coinbase(1 << 20)
	// Its head ends with how many bytes of nonces follow.
	_, outputs, err := work.DecodeCoinbase(slices.Concat(c.Head, make([]byte, c.Head[len(c.Head)-1]), c.Mid, c.Tail))
	if err != nil || len(outputs) == 0 {
		return nil, false, fmt.Errorf("coinbase of job %016x: %w", j.ID, err)
	}
	return outputs[0].Script, false, nil
}

// ever is after all times: what is known now is known whatever the clock says, which may
// have been set back since.
const ever = math.MaxInt64

// scripts are all of the pool's that were known by a time, with those that somebody had said
// by then.
func (s *Store) scripts(ctx context.Context, tx table.Tx, at int64) (map[string]bool, error) {
	known := map[string]bool{}
	if err := rows(ctx, tx, "select script from chain_scripts where at <= $1", []any{at}, func(scan func(...any) error) error {
		var b []byte
		err := scan(&b)
		known[string(b)] = true
		return err
	}); err != nil {
		return nil, err
	}
	if at == ever {
		var err error
		if at, err = s.present(ctx, tx); err != nil {
			return nil, err
		}
	}
	text := ""
	err := one(ctx, tx, "select value from settings where name = $1 and account = 0 and since <= $2 and at <= $2 order by since desc, height desc, number desc limit 1",
		[]any{SettingScripts, at}, &text)
	for part := range strings.SplitSeq(text, ",") {
		if b, err := hex.DecodeString(part); err == nil && len(b) > 0 {
			known[string(b)] = true
		}
	}
	return known, err
}

// untaken are blocks that pools have told of since they were taken over last, from height $1
// on. One of which there is no job was imported: it was paid elsewhere.
const untaken = `from blocks b join jobs j on j.instance = b.instance and j.id = b.job and length(j.record) > 0
	left join chain_blocks c on c.hash = b.hash where b.height >= $1 and (c.hash is null or c.told = 0 and c.held = 0)`

// learnBlocks takes over the blocks that pools have told of, with the scripts of their jobs,
// which learnScripts may come to later; and says where the lowest of them is that was not seen
// in the chain, or not as one of the pool's.
func (s *Store) learnBlocks(ctx context.Context, tx table.Tx, start int64) (back int64, err error) {
	back = nowhere
	type row struct {
		hash, record  []byte
		height, found int64
	}
	var list []row
	if err := rows(ctx, tx, "select b.hash, b.height, b.found, j.record "+untaken+" order by b.height, b.hash", []any{start}, func(scan func(...any) error) error {
		var r row
		err := scan(&r.hash, &r.height, &r.found, &r.record)
		list = append(list, r)
		return err
	}); err != nil {
		return 0, err
	}
	for _, r := range list {
		script, _, err := payoutScript(r.record)
		if err != nil {
			return 0, fmt.Errorf("block at height %d: %w", r.height, err)
		}
		if len(script) > 0 {
			n, err := tx.Exec(ctx, "insert into chain_scripts (script, at) values ($1, $2) on conflict do nothing", script, now())
			if err != nil {
				return 0, err
			}
			if n > 0 {
				back = min(back, r.height)
			}
		}
		n, err := tx.Exec(ctx, "update chain_blocks set told = 1, found = $2 where hash = $1", r.hash, r.found)
		if err != nil {
			return 0, err
		}
		if n > 0 {
			continue
		}
		if _, err := tx.Exec(ctx, "insert into chain_blocks (hash, height, told, found, coinbase) values ($1, $2, 1, $3, $4)", r.hash, r.height, r.found, []byte{}); err != nil {
			return 0, err
		}
		if err := s.changed(ctx, tx, r.hash, New, 0); err != nil {
			return 0, err
		}
		back = min(back, r.height)
	}
	return back, nil
}

// changed writes down what became of a block.
func (s *Store) changed(ctx context.Context, tx table.Tx, hash []byte, f Fate, confirmations int64) error {
	_, err := tx.Exec(ctx, "insert into block_changes (hash, at, state, confirmations, note) values ($1, $2, $3, $4, $5) on conflict do nothing",
		hash, now(), string(f), confirmations, "seen by ckdb")
	return err
}

// Advance puts blocks on the chain that is kept, above fork, which is one of Follow's or,
// where there is none, the height below the first. Blocks stand on each other. What
// becomes of the pool's blocks by that is stored with it.
func (s *Store) Advance(ctx context.Context, top, fork Place, list []ChainBlock) error {
	if len(list) == 0 {
		return nil
	}
	for i, b := range list {
		below := fork
		if i > 0 {
			below = list[i-1].Place
		}
		if b.Height != below.Height+1 || b.Previous != below.Hash && below.Hash != [32]byte{} {
			return fmt.Errorf("chain: block %s at height %d does not stand on %s at %d", work.FormatHash(b.Hash), b.Height, work.FormatHash(below.Hash), below.Height)
		}
	}
	return s.change(ctx, func(tx table.Tx) error {
		var locked int64
		if err := one(ctx, tx, "select start from chain_head"+s.db.Lock(), nil, &locked); err != nil {
			return err
		}
		var present Place
		var hash []byte
		if err := one(ctx, tx, "select height, hash from chain order by height desc limit 1", nil, &present.Height, &hash); err != nil {
			return err
		}
		if copy(present.Hash[:], hash); present != top {
			if present == list[len(list)-1].Place { // by an attempt whose outcome was not known
				return nil
			}
			return ErrPlace
		}
		scripts, err := s.scripts(ctx, tx, ever)
		if err != nil {
			return err
		}
		start, err := s.starts(ctx, tx, 0)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "delete from chain where height > $1", fork.Height); err != nil {
			return err
		}
		for i := range list {
			if err := s.place(ctx, tx, &list[i], scripts, start); err != nil {
				return err
			}
		}
		last := list[len(list)-1].Height
		if _, err := tx.Exec(ctx, "delete from chain where height <= $1", last-ChainKept); err != nil {
			return err
		}
		return s.judge(ctx, tx, last)
	})
}

// place puts a block on the chain, and keeps its coinbase if it is one of the pool's, from
// the height of start on.
func (s *Store) place(ctx context.Context, tx table.Tx, b *ChainBlock, scripts map[string]bool, start int64) error {
	if _, err := tx.Exec(ctx, "insert into chain (height, hash) values ($1, $2)", b.Height, b.Hash[:]); err != nil {
		return err
	}
	value, outputs, err := own(b.Coinbase, scripts)
	if err != nil {
		return fmt.Errorf("coinbase of block %s: %w", work.FormatHash(b.Hash), err)
	}
	n, err := tx.Exec(ctx, "update chain_blocks set coinbase = $2, ntime = $3, value = $4, outputs = $5 where hash = $1 and rewarded = 0 and held = 0", b.Hash[:], b.Coinbase, int64(b.NTime), value, outputsText(outputs))
	if err != nil || n > 0 || len(outputs) == 0 || b.Height < start {
		return err
	}
	at := now()
	n, err = tx.Exec(ctx, "insert into chain_blocks (hash, height, told, found, coinbase, ntime, value, outputs) values ($1, $2, 0, $3, $4, $5, $6, $7) on conflict do nothing",
		b.Hash[:], b.Height, at, b.Coinbase, int64(b.NTime), value, outputsText(outputs))
	if err != nil || n == 0 {
		return err
	}
	return s.changed(ctx, tx, b.Hash[:], New, 0)
}

// own is what a coinbase pays the pool, and by which of its outputs.
func own(coinbase []byte, scripts map[string]bool) (value int64, list []int, err error) {
	if len(coinbase) == 0 { // it was not seen
		return 0, nil, nil
	}
	_, outputs, err := work.DecodeCoinbase(coinbase)
	for i, o := range outputs {
		if scripts[string(o.Script)] {
			value, list = value+o.Value, append(list, i)
		}
	}
	return value, list, err
}

// outputsText is how such a list is stored. It does not change once its block is rewarded or
// held: a script may be the pool's later, as that of an address that a miner had.
func outputsText(list []int) string {
	if len(list) == 0 {
		return "none"
	}
	var text []string
	for _, i := range list {
		text = append(text, strconv.Itoa(i))
	}
	return strings.Join(text, ",")
}

// ownOutputs are the outputs of a block's coinbase that are the pool's.
func (s *Store) ownOutputs(ctx context.Context, tx table.Tx, b *poolBlock) (list []int, err error) {
	switch b.outputs {
	case "none":
		return nil, nil
	case "": // as they were when its money was posted, and its value fixed
		at := now()
		if b.held > 0 {
			at = b.held
		} else if b.rewarded > 0 {
			at = b.rewarded
		}
		known, err := s.scripts(ctx, tx, at)
		if err == nil {
			_, list, err = own(b.coinbase, known)
		}
		return list, err
	}
	for part := range strings.SplitSeq(b.outputs, ",") {
		i, err := strconv.Atoi(part)
		if err != nil {
			return nil, fmt.Errorf("outputs %q of block %s: %w", b.outputs, b.name(), err)
		}
		list = append(list, i)
	}
	return list, nil
}

// ownValue is what those have.
func (s *Store) ownValue(ctx context.Context, tx table.Tx, b *poolBlock) (value int64, err error) {
	list, err := s.ownOutputs(ctx, tx, b)
	if err != nil || len(list) == 0 || len(b.coinbase) == 0 {
		return 0, err
	}
	_, outputs, err := work.DecodeCoinbase(b.coinbase)
	for _, i := range list {
		if i < len(outputs) {
			value += outputs[i].Value
		}
	}
	return value, err
}

// judge says what becomes of the pool's blocks where the chain has grown to a tip. Where
// the chain that is kept has no block, nothing changes.
func (s *Store) judge(ctx context.Context, tx table.Tx, tip int64) error {
	type row struct {
		hash, there []byte
		height      int64
		state, next Fate
	}
	var list []row
	if err := rows(ctx, tx, `select b.hash, b.height, b.state, c.hash from chain_blocks b join chain c on c.height = b.height
		where b.state in ('new', 'confirmed') or b.state = 'orphaned' and c.hash = b.hash or b.state = 'matured' and c.hash <> b.hash order by b.height, b.hash`, nil, func(scan func(...any) error) error {
		var r row
		err := scan(&r.hash, &r.height, &r.state, &r.there)
		list = append(list, r)
		return err
	}); err != nil {
		return err
	}
	for _, r := range list {
		n := tip - r.height + 1
		switch in := bytes.Equal(r.hash, r.there); {
		case in && n >= MaturedAt:
			r.next = Mature
		case in:
			r.next = InChain
		case n >= OrphanedAt:
			r.next = IsOrphan
		case r.state == InChain:
			r.next = New
		default:
			continue
		}
		if r.next == r.state {
			continue
		}
		if r.next == New || r.next == IsOrphan {
			n = 0
		}
		if _, err := tx.Exec(ctx, "update chain_blocks set state = $2 where hash = $1", r.hash, string(r.next)); err != nil {
			return err
		}
		if err := s.changed(ctx, tx, r.hash, r.next, n); err != nil {
			return err
		}
	}
	return nil
}
