package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/ownership"
	"github.com/ckpool/ckpool/internal/payout"
	"github.com/ckpool/ckpool/internal/store/table"
)

// Names of settings. What one says holds from a time and a height on, until another
// of the same name does.
const (
	SettingScheme   = "scheme"      // pplns or proportional
	SettingTimes    = "times"       // of the network's difficulty: the window of PPLNS
	SettingAdd      = "add"         // difficulty, to that
	SettingFee      = "fee"         // millionths; of all, or of an account
	SettingPayer    = "networkfee"  // who pays it: pool or users
	SettingLeast    = "minimum"     // satoshis of a payout; of all, or of an account
	SettingFeeMost  = "maximumfee"  // satoshis of a payout's transaction
	SettingRateMost = "maximumrate" // satoshis per 1,000 virtual bytes
	SettingAutopay  = "autopay"     // satoshis of a run without a person; 0: there is none
	SettingDay      = "autopayday"  // satoshis of such runs in a day
	SettingRetired  = "retired"     // instances by id, that nothing more comes from
	SettingStart    = "start"       // height of the first block that is rewarded
	SettingWait     = "addresswait" // seconds until a changed payout address holds
	SettingScripts  = "scripts"     // of outputs, in hex: the pool's, beside those of its jobs
)

// setting is what may be said with a name.
type setting struct {
	fallback string // "" none
	accounts bool   // may be of one account
	check    func(text string) error
}

func whole(least, most int64) func(string) error {
	return func(text string) error {
		if n, err := strconv.ParseInt(text, 10, 64); err != nil || n < least || n > most {
			return fmt.Errorf("want a whole number from %d to %d", least, most)
		}
		return nil
	}
}

func oneOf(list ...string) func(string) error {
	return func(text string) error {
		if !slices.Contains(list, text) {
			return fmt.Errorf("want one of %s", strings.Join(list, ", "))
		}
		return nil
	}
}

func amountOf(text string) error {
	if _, err := difficulty.ParseExact(text); err != nil {
		return errors.New("want a difficulty, such as 5 or 0.001")
	}
	return nil
}

// hexOf is a list of hexadecimal texts with commas between them, which may be empty.
func hexOf(least, most int) func(string) error {
	return func(text string) error {
		for part := range strings.SplitSeq(text, ",") {
			if b, err := hex.DecodeString(part); text != "" && (err != nil || len(b) < least || len(b) > most || part != strings.ToLower(part)) {
				return fmt.Errorf("%q: want %d to %d bytes in hexadecimal digits, with a comma before the next ones", part, least, most)
			}
		}
		return nil
	}
}

const satoshis = 2_100_000_000_000_000

// LeastMost is the most that a least payout may be: nobody's money is to be held back
// by it.
const LeastMost = 1_000_000_000

var settings = map[string]setting{
	SettingScheme:   {"pplns", false, oneOf("pplns", "proportional")},
	SettingTimes:    {"5", false, amountOf},
	SettingAdd:      {"0", false, amountOf},
	SettingFee:      {"0", true, whole(0, 1_000_000)},
	SettingPayer:    {"users", false, oneOf("pool", "users")},
	SettingLeast:    {"100000", true, whole(1, LeastMost)},
	SettingFeeMost:  {"1000000", false, whole(1, satoshis)},
	SettingRateMost: {"100000", false, whole(1, payout.MostRate)},
	SettingAutopay:  {"0", false, whole(0, satoshis)},
	SettingDay:      {"0", false, whole(0, satoshis)},
	SettingRetired:  {"", false, hexOf(16, 16)},
	SettingStart:    {"", false, whole(0, 1<<40)},
	SettingWait:     {"259200", false, whole(0, 30*24*3600)},
	SettingScripts:  {"", false, hexOf(1, 10_000)},
}

// Setting is what somebody said.
type Setting struct {
	Number int64 // grows; given when it is set
	Name   string
	Owner  Owner // of an account alone; zero: of all
	Value  string
	Since  int64 // time from which it holds, microseconds since 1970
	Height int64 // and height
	At     int64 // when it was said; given
	By     string
	// Proof that it is the owner who says it: SettingLeast of an address account needs
	// one. What was signed is LeastWhat of the value, for the account.
	Proof *ownership.Proof
}

// CheckSetting refuses what no setting of that name could be.
func CheckSetting(name, value string) error {
	known, ok := settings[name]
	if !ok {
		return fmt.Errorf("setting %q: there is no such, want one of %s", name, strings.Join(SettingNames(), ", "))
	}
	if err := known.check(value); err != nil {
		return fmt.Errorf("setting %q: %q: %w", name, value, err)
	}
	return nil
}

// ErrSettled tells that a setting would have held for a block that is rewarded.
var ErrSettled = errors.New("it would change what is rewarded already")

// Set appends a setting. What it says of blocks that are rewarded already is refused:
// that is what corrections are for.
func (s *Store) Set(ctx context.Context, v Setting) (Setting, error) {
	if err := CheckSetting(v.Name, v.Value); err != nil {
		return v, err
	}
	switch {
	case v.By == "" || v.By != clean(v.By):
		return v, fmt.Errorf("setting %q: it has to be somebody's who sets it", v.Name)
	case v.Owner != Owner{} && !settings[v.Name].accounts:
		return v, fmt.Errorf("setting %q: it is of all, and not of %s alone", v.Name, v.Owner)
	case v.Since < 0 || v.Height < 0:
		return v, fmt.Errorf("setting %q: it cannot hold from time %d, height %d on", v.Name, v.Since, v.Height)
	}
	err := s.change(ctx, func(tx table.Tx) error { return s.set(ctx, tx, &v) })
	if err != nil {
		return v, fmt.Errorf("setting %q: %w", v.Name, err)
	}
	return v, nil
}

// rewarding are the settings that a reward is computed with.
var rewarding = []string{SettingScheme, SettingTimes, SettingAdd, SettingFee}

func (s *Store) set(ctx context.Context, tx table.Tx, v *Setting) error {
	at := now()
	number, err := s.nextAudit(ctx, tx)
	if err != nil {
		return err
	}
	var id int64
	subject := v.Name
	if v.Owner != (Owner{}) {
		if err := one(ctx, tx, "select id, folded from accounts where kind = $1 and folded = $2", []any{string(v.Owner.Kind), fold(v.Owner.Kind, v.Owner.Name)}, &id, &v.Owner.Name); err != nil {
			return err
		}
		if id == 0 {
			return fmt.Errorf("%w: %s", ErrAccount, v.Owner)
		}
		subject += " of " + v.Owner.String()
		if err := owned(ctx, tx, v, at); err != nil {
			return err
		}
	}
	before, _, err := s.setting(ctx, tx, v.Name, id, at, satoshis)
	if err != nil {
		return err
	}
	if slices.Contains(rewarding, v.Name) {
		var height int64
		if err := one(ctx, tx, "select coalesce(max(height), -1) from chain_blocks where rewarded > 0 and height >= $1 and found >= $2", []any{v.Height, v.Since}, &height); err != nil {
			return err
		}
		if height >= 0 {
			return fmt.Errorf("%w: the block at height %d, for example; want a later time or height", ErrSettled, height)
		}
	}
	if v.Name == SettingScripts { // they are looked for in what is kept of the chain
		var start int64
		if err := one(ctx, tx, "select start from chain_head"+s.db.Lock(), nil, &start); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "delete from chain where height > (select min(height) from chain) or (select count(*) from chain) < $1", ChainKept); err != nil {
			return err
		}
	}
	v.Number, v.At = number, at
	if _, err := tx.Exec(ctx, "insert into settings (number, name, account, value, since, height, at, by) values ($1, $2, $3, $4, $5, $6, $7, $8)",
		number, v.Name, id, v.Value, v.Since, v.Height, at, v.By); err != nil {
		return err
	}
	if v.Name == SettingTimes || v.Name == SettingAdd {
		if err := s.someWindow(ctx, tx, max(v.Since, at), v.Height); err != nil {
			return err
		}
	}
	return s.audit(ctx, tx, AuditRow{Number: number, At: at, By: v.By, What: "set", Subject: subject, Before: before,
		After: fmt.Sprintf("%s from time %d, height %d", v.Value, v.Since, v.Height)})
}

// someWindow refuses a window of pplns without any work, by which no block could be divided.
func (s *Store) someWindow(ctx context.Context, tx table.Tx, at, height int64) error {
	tip, err := s.tip(ctx, tx)
	if err != nil {
		return err
	}
	for _, name := range []string{SettingTimes, SettingAdd} {
		text, _, err := s.setting(ctx, tx, name, 0, at, max(height, tip+1))
		if err != nil {
			return err
		}
		if x, err := difficulty.ParseExact(text); err != nil || !x.IsZero() {
			return err
		}
	}
	return fmt.Errorf("with both %q and %q of 0 no share would count, and no block could be divided: set the other one first", SettingTimes, SettingAdd)
}

// owned refuses what is for the owner of an address alone to say.
func owned(ctx context.Context, tx table.Tx, v *Setting, at int64) error {
	if v.Owner.Kind != Address || v.Name != SettingLeast {
		return nil
	}
	if v.Proof == nil || fold(Address, v.Proof.Address().String()) != v.Owner.Name {
		return ErrProof
	}
	_, err := spend(ctx, tx, v.Owner, LeastWhat(v.Value), at, []*ownership.Proof{v.Proof})
	return err
}

// SettingNames are the names of all settings, sorted.
func SettingNames() (names []string) {
	for name := range settings {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// SettingAt is what holds of a name at a time and height: of the settings that began,
// the one with the latest time, then height, then that was set last; where there is
// none, what the program has. An account without one of its own has that of all.
func (s *Store) SettingAt(ctx context.Context, name string, of Owner, at, height int64) (value string, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		var id int64
		if of != (Owner{}) {
			if err := one(ctx, tx, "select id from accounts where kind = $1 and folded = $2", []any{string(of.Kind), fold(of.Kind, of.Name)}, &id); err != nil {
				return err
			}
		}
		var found bool
		if value, found, err = s.setting(ctx, tx, name, id, at, height); err == nil && !found && id != 0 {
			value, _, err = s.setting(ctx, tx, name, 0, at, height)
		}
		return err
	})
	return value, err
}

// present is now, or the time of the last setting where the clock was set back since: what
// was said to hold at once goes on to hold.
func (s *Store) present(ctx context.Context, tx table.Tx) (at int64, err error) {
	err = one(ctx, tx, "select coalesce(max(at), 0) from settings", nil, &at)
	return max(at, now()), err
}

// setting is what was said of an account by its number, 0 of all.
func (s *Store) setting(ctx context.Context, tx table.Tx, name string, account, at, height int64) (value string, found bool, err error) {
	value = settings[name].fallback
	err = rows(ctx, tx, "select value from settings where name = $1 and account = $2 and since <= $3 and height <= $4 order by since desc, height desc, number desc limit 1",
		[]any{name, account, at, height}, func(scan func(...any) error) error {
			found = true
			return scan(&value)
		})
	return value, found, err
}

// Settings are all that were ever set, the oldest first.
func (s *Store) Settings(ctx context.Context) (list []Setting, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		return rows(ctx, tx, `select s.number, s.name, coalesce(a.kind, ''), coalesce(a.folded, ''), s.value, s.since, s.height, s.at, s.by
			from settings s left join accounts a on a.id = s.account order by s.number`, nil, func(scan func(...any) error) error {
			var v Setting
			err := scan(&v.Number, &v.Name, &v.Owner.Kind, &v.Owner.Name, &v.Value, &v.Since, &v.Height, &v.At, &v.By)
			list = append(list, v)
			return err
		})
	})
	return list, err
}

// AuditRow is a change that a person made.
type AuditRow struct {
	Number        int64 // from 1, without a gap; given
	At            int64 // likewise
	By            string
	What          string // was done
	Subject       string // to what
	Before, After string
}

// nextAudit is the number of the next row; whoever else wants one waits.
func (s *Store) nextAudit(ctx context.Context, tx table.Tx) (n int64, err error) {
	var last int64
	if err := one(ctx, tx, "select last from ledger_head"+s.db.Lock(), nil, &last); err != nil {
		return 0, err
	}
	err = one(ctx, tx, "select coalesce(max(number), 0) + 1 from audit", nil, &n)
	return n, err
}

// audit writes a row, in the transaction of the change.
func (s *Store) audit(ctx context.Context, tx table.Tx, r AuditRow) (err error) {
	if r.Number == 0 {
		r.At = now()
		if r.Number, err = s.nextAudit(ctx, tx); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, "insert into audit (number, at, by, what, subject, before, after) values ($1, $2, $3, $4, $5, $6, $7)",
		r.Number, r.At, clean(r.By), r.What, clean(r.Subject), clean(r.Before), clean(r.After))
	return err
}

// Audit is what people changed, the newest first, at most so many; 0: all.
func (s *Store) Audit(ctx context.Context, last int) (list []AuditRow, err error) {
	query := "select number, at, by, what, subject, before, after from audit order by number desc"
	if last > 0 {
		query += fmt.Sprintf(" limit %d", last)
	}
	err = s.db.Read(ctx, func(tx table.Tx) error {
		return rows(ctx, tx, query, nil, func(scan func(...any) error) error {
			var r AuditRow
			err := scan(&r.Number, &r.At, &r.By, &r.What, &r.Subject, &r.Before, &r.After)
			list = append(list, r)
			return err
		})
	})
	return list, err
}
