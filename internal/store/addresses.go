package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/ownership"
	"github.com/ckpool/ckpool/internal/store/table"
)

// Whole is all of what is divided: ratios are in millionths.
const Whole = 1_000_000

// partsMost is how many addresses an account is paid to.
const partsMost = 20

// Part is what share of an account's money goes to an address.
type Part struct {
	Address string // as it is written canonically
	PPM     int64  // of Whole
}

// AddressSet is where an account is paid from a time on.
type AddressSet struct {
	Number int64 // grows; 0: an address account's own address, of which nothing was said
	Since  int64 // time from which it holds, microseconds since 1970
	At     int64 // when it was said
	By     string
	Parts  []Part // sum up to Whole
	// Void is why it does not hold and never will: "" it does, or will.
	Void string
	lost bool // to another account
}

// AddressChange is what an owner wants of the addresses of an account.
type AddressChange struct {
	Owner Owner
	Parts []Part
	By    string
	// Proofs that the addresses of it are the account's own. An address account needs
	// one of itself; of other addresses they are needed where another account has them.
	// What was signed is AddressWhat of the parts, for the account.
	Proofs []*ownership.Proof
}

// Errors of proofs and addresses.
var (
	ErrProof     = errors.New("the settings of an address account are its owner's: want a text signed with the key of the address")
	ErrProofUsed = errors.New("this proof was used before: ask for a new text to sign")
	ErrOwned     = errors.New("it is another account's: prove that it is yours")
)

// AddressWhat is what a claim says of a change of addresses.
func AddressWhat(parts []Part) string {
	var b strings.Builder
	b.WriteString("pay to")
	for i, p := range parts {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %s %s%%", p.Address, Percent(p.PPM))
	}
	return b.String()
}

// Percent is a ratio in millionths as people read it, without a rounding.
func Percent(ppm int64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%d.%04d", ppm/10_000, ppm%10_000), "0"), ".")
}

// LeastWhat is what a claim says of a change of the least payout.
func LeastWhat(value string) string { return "minimum " + value }

// RefusedError is why something cannot be as it is asked for, in words for who asks:
// nothing in it is about the database.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string { return e.Err.Error() }
func (e *RefusedError) Unwrap() error { return e.Err }

// refused is such an error.
func refused(format string, args ...any) error { return &RefusedError{fmt.Errorf(format, args...)} }

// parts checks them, and gives them as they are kept.
func (s *Store) parts(ctx context.Context, tx table.Tx, list []Part) ([]Part, error) {
	var chain string
	if err := one(ctx, tx, "select network from ckdb", nil, &chain); err != nil {
		return nil, err
	}
	list, err := checkParts(chain, list)
	if err != nil {
		return nil, &RefusedError{err}
	}
	return list, nil
}

func checkParts(chain string, list []Part) ([]Part, error) {
	network, ok := address.NetworkForChain(chain)
	switch {
	case !ok:
		return nil, errors.New("no pool has stored anything yet, so that its network is not known")
	case len(list) == 0 || len(list) > partsMost:
		return nil, fmt.Errorf("%d addresses: want 1 to %d", len(list), partsMost)
	}
	list = slices.Clone(list)
	total := int64(0)
	for i := range list {
		p := &list[i]
		a, err := address.Parse(p.Address)
		if err == nil {
			err = a.Payable()
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("address %q: %w", clean(p.Address), err)
		case !a.On(network):
			return nil, fmt.Errorf("address %s is of %s, the pool is on %s", a, a.Network(), network)
		case p.PPM < 1 || p.PPM > Whole:
			return nil, fmt.Errorf("address %s: it would have %s %%, want more than 0 and at most 100", a, Percent(p.PPM))
		}
		p.Address = a.String()
		total += p.PPM
	}
	slices.SortFunc(list, func(a, b Part) int { return cmp.Compare(a.Address, b.Address) })
	for i := range list[1:] {
		if list[i].Address == list[i+1].Address {
			return nil, fmt.Errorf("address %s is there twice", list[i].Address)
		}
	}
	if total != Whole {
		return nil, fmt.Errorf("the ratios sum up to %s %%: want 100", Percent(total))
	}
	return list, nil
}

// CheckParts gives the parts as they are kept, for AddressWhat, or says what is wrong.
func (s *Store) CheckParts(ctx context.Context, list []Part) (checked []Part, err error) {
	err = s.db.Read(ctx, func(tx table.Tx) error {
		checked, err = s.parts(ctx, tx, list)
		return err
	})
	return checked, err
}

// spend uses proofs up, and tells which addresses they prove.
func spend(ctx context.Context, tx table.Tx, of Owner, what string, at int64, list []*ownership.Proof) (proved map[string]bool, err error) {
	proved = map[string]bool{}
	// A claim is good for minutes: a day later it is refused for its age.
	if _, err := tx.Exec(ctx, "delete from proofs where at < $1", at-(24*time.Hour).Microseconds()); err != nil {
		return nil, err
	}
	for _, p := range list {
		c := p.Claim()
		if fold(of.Kind, c.Account) != of.Name || c.What != what {
			return nil, refused("what was signed is %q for account %s: want %q for %s", c.What, c.Account, what, of.Name)
		}
		// One text may be signed by several addresses, each once.
		if n, err := tx.Exec(ctx, "insert into proofs (once, at) values ($1, $2) on conflict do nothing", c.Once+" "+p.Address().String(), at); err != nil {
			return nil, err
		} else if n != 1 {
			return nil, &RefusedError{ErrProofUsed}
		}
		proved[p.Address().String()] = true
	}
	return proved, nil
}

// UseProof uses a proof up that is for something of an account which is kept elsewhere,
// such as a login.
func (s *Store) UseProof(ctx context.Context, of Owner, what string, p *ownership.Proof) error {
	of = of.Folded()
	return s.change(ctx, func(tx table.Tx) error {
		proved, err := spend(ctx, tx, of, what, now(), []*ownership.Proof{p})
		if err == nil && !proved[of.Name] {
			err = &RefusedError{ErrProof}
		}
		return err
	})
}

// SetAddresses changes where an account is paid. It holds after a time in which the
// owner can hear of it and change it back (SettingWait); at once where the account was
// paid nowhere, or where it is what holds now, which takes back a change that waits.
func (s *Store) SetAddresses(ctx context.Context, c AddressChange) (set AddressSet, err error) {
	what := fmt.Sprintf("addresses of %s", c.Owner)
	if err := errBy(c.By); err != nil {
		return set, fmt.Errorf("%s: %w", what, err)
	}
	err = s.change(ctx, func(tx table.Tx) error {
		set, err = s.setAddresses(ctx, tx, &c)
		return err
	})
	if err != nil {
		return AddressSet{}, fmt.Errorf("%s: %w", what, err)
	}
	return set, nil
}

func (s *Store) setAddresses(ctx context.Context, tx table.Tx, c *AddressChange) (set AddressSet, err error) {
	at := now()
	row, err := s.nextAudit(ctx, tx)
	if err != nil {
		return set, err
	}
	parts, err := s.parts(ctx, tx, c.Parts)
	if err != nil {
		return set, err
	}
	id, name, err := s.owner(ctx, tx, c.Owner)
	if err != nil {
		return set, err
	}
	of := Owner{c.Owner.Kind, fold(c.Owner.Kind, name)}
	proved, err := spend(ctx, tx, of, AddressWhat(parts), at, c.Proofs)
	if err != nil {
		return set, err
	}
	if of.Kind == Address && !proved[of.Name] {
		return set, &RefusedError{ErrProof}
	}
	for _, p := range parts {
		if err := claim(ctx, tx, id, p.Address, proved[p.Address], at); err != nil {
			return set, err
		}
	}
	sets, err := addressSets(ctx, tx, "s.account = $1", id)
	if err != nil {
		return set, err
	}
	holds := holding(sets[of], of, at)
	set = AddressSet{Since: at, At: at, By: c.By, Parts: parts}
	same := slices.Equal(holds.Parts, parts)
	if (holds.Number > 0 || len(holds.Parts) > 0) && !same {
		text, _, err := s.setting(ctx, tx, SettingWait, 0, at, satoshis)
		if err != nil {
			return set, err
		}
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return set, err
		}
		set.Since += seconds * 1_000_000
	}
	if err := one(ctx, tx, "select coalesce(max(number), 0) + 1 from address_sets", nil, &set.Number); err != nil {
		return set, err
	}
	if _, err := tx.Exec(ctx, "insert into address_sets (number, account, since, at, by) values ($1, $2, $3, $4, $5)", set.Number, id, set.Since, at, c.By); err != nil {
		return set, err
	}
	for _, p := range parts {
		if _, err := tx.Exec(ctx, "insert into address_parts (number, address, ppm) values ($1, $2, $3)", set.Number, p.Address, p.PPM); err != nil {
			return set, err
		}
	}
	from := time.UnixMicro(set.Since).UTC().Format("2006-01-02 15:04") + " UTC"
	// Who mines is the owner, whoever asked for it.
	text := set.announcement()
	if same {
		text = "This account stays paid to the addresses it has"
	}
	if err := s.tell(ctx, tx, &Change{Kind: NewMessage, Account: name, Reason: text}, id, at); err != nil {
		return set, err
	}
	before := AddressWhat(holds.Parts)
	if len(holds.Parts) == 0 {
		before = "pay to nobody"
	}
	return set, s.audit(ctx, tx, AuditRow{Number: row, At: at, By: c.By, What: "addresses", Subject: Owner{c.Owner.Kind, name}.String(),
		Before: before, After: "from " + from + " " + AddressWhat(parts)})
}

// announcement is what miners are shown of addresses that hold later.
func (v *AddressSet) announcement() string {
	return "From " + time.UnixMicro(v.Since).UTC().Format("2006-01-02 15:04") + " UTC this account is paid to other addresses: if that is not your wish, change it back before"
}

// announceEvery is how often a change of addresses that waits is announced: who mines at
// night alone, or is away for a day, hears of it too.
const announceEvery = 6 * time.Hour

// Announce tells the miners of each account whose changed addresses wait at a time, if
// they were not told for some hours. It is to be called every hour or so.
func (s *Store) Announce(ctx context.Context, at int64) error {
	var waiting int64
	if err := s.db.Read(ctx, func(tx table.Tx) error {
		return one(ctx, tx, "select count(*) from address_sets where since > $1 and at <= $1", []any{at}, &waiting)
	}); err != nil || waiting == 0 {
		return err
	}
	return s.change(ctx, func(tx table.Tx) error {
		// The order of locks is that of all who change accounts.
		if _, err := s.nextAudit(ctx, tx); err != nil {
			return err
		}
		sets, err := addressSets(ctx, tx, "s.account in (select account from address_sets where since > $1 and at <= $1)", at)
		if err != nil {
			return err
		}
		owners := slices.SortedFunc(maps.Keys(sets), Owner.compare)
		for _, o := range owners {
			for _, v := range sets[o] {
				if v.Since <= at || v.At > at || v.Void != "" {
					continue
				}
				var id, told int64
				var name string
				if err := one(ctx, tx, "select id, name from accounts where kind = $1 and folded = $2", []any{string(o.Kind), o.Name}, &id, &name); err != nil {
					return err
				}
				if err := one(ctx, tx, "select coalesce(max(at), 0) from changes where kind = $1 and account = $2 and reason = $3", []any{string(NewMessage), name, v.announcement()}, &told); err != nil {
					return err
				}
				if told > at-announceEvery.Microseconds() {
					continue
				}
				if err := s.tell(ctx, tx, &Change{Kind: NewMessage, Account: name, Reason: v.announcement()}, id, at); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// claim makes an address an account's, if it is nobody else's or is proved. Of who has
// it by a proof, only a later proof takes it.
func claim(ctx context.Context, tx table.Tx, id int64, text string, proved bool, at int64) error {
	when := int64(0)
	if proved {
		when = at
	}
	added, err := tx.Exec(ctx, "insert into address_owners (address, account, proved, at) values ($1, $2, $3, $4) on conflict do nothing", text, id, when, at)
	if err != nil {
		return err
	}
	var owner, miner int64
	if err := one(ctx, tx, "select account from address_owners where address = $1", []any{text}, &owner); err != nil {
		return err
	}
	// Who mines under an address has it without a word.
	if err := one(ctx, tx, "select id from accounts where kind = 'address' and folded = $1", []any{text}, &miner); err != nil {
		return err
	}
	switch {
	case proved:
		_, err := tx.Exec(ctx, "update address_owners set account = $2, proved = $3, at = $3 where address = $1", text, id, at)
		return err
	case owner != id, added > 0 && miner != 0 && miner != id:
		return refused("address %s: %w", text, ErrOwned)
	}
	return nil
}

// addressSets are those of accounts, by their owner, the oldest first. Those that never
// came to hold or do not any more say why.
func addressSets(ctx context.Context, tx table.Tx, where string, args ...any) (map[Owner][]AddressSet, error) {
	sets := map[Owner][]AddressSet{}
	err := rows(ctx, tx, `select a.kind, a.folded, s.number, s.since, s.at, s.by, p.address, p.ppm, case when o.account = s.account then 0 else 1 end
		from address_sets s join accounts a on a.id = s.account join address_parts p on p.number = s.number left join address_owners o on o.address = p.address
		where `+where+" order by s.number, p.address", args, func(scan func(...any) error) error {
		var o Owner
		var set AddressSet
		var p Part
		var lost int64
		if err := scan(&o.Kind, &o.Name, &set.Number, &set.Since, &set.At, &set.By, &p.Address, &p.PPM, &lost); err != nil {
			return err
		}
		if n := len(sets[o]); n == 0 || sets[o][n-1].Number != set.Number {
			sets[o] = append(sets[o], set)
		}
		last := &sets[o][len(sets[o])-1]
		last.Parts = append(last.Parts, p)
		if lost > 0 {
			last.Void, last.lost = "another account has proved that "+p.Address+" is its own", true
		}
		return nil
	})
	for _, list := range sets {
		for i := range list {
			if k := slices.IndexFunc(list[i+1:], func(later AddressSet) bool { return later.At < list[i].Since }); k >= 0 && list[i].Void == "" {
				list[i].Void = fmt.Sprintf("number %d came before it held", list[i+1+k].Number)
			}
			slices.SortFunc(list[i].Parts, func(a, b Part) int { return cmp.Compare(a.Address, b.Address) })
		}
	}
	return sets, err
}

// holding is the one of an account's sets that holds at a time. Without one an address
// account has its own address, and a user nothing: Parts is empty. So it is where an
// address of the last one is another account's now: an older one is not guessed.
func holding(list []AddressSet, of Owner, at int64) (set AddressSet) {
	for _, v := range list {
		if v.Since <= at && (v.Void == "" || v.lost) {
			set = v
		}
	}
	switch {
	case set.lost:
		set.Parts = nil
	case set.Number == 0 && of.Kind == Address:
		set.Parts = []Part{{of.Name, Whole}}
	}
	return set
}

// AddressesAt is where an account is paid at a time, microseconds since 1970. One that
// is paid nowhere has no parts.
func (s *Store) AddressesAt(ctx context.Context, of Owner, at int64) (set AddressSet, err error) {
	of.Name = fold(of.Kind, clean(of.Name))
	list, err := s.AddressSets(ctx, of)
	return holding(list, of, at), err
}

// AddressSets are all of an account, the oldest first, also those that wait or are void.
func (s *Store) AddressSets(ctx context.Context, of Owner) (list []AddressSet, err error) {
	of.Name = fold(of.Kind, clean(of.Name))
	err = s.db.Read(ctx, func(tx table.Tx) error {
		sets, err := addressSets(ctx, tx, "a.kind = $1 and a.folded = $2", string(of.Kind), of.Name)
		list = sets[of]
		return err
	})
	return list, err
}

// PaidTo is where each of these accounts is paid at a time, for a payout.
func (s *Store) PaidTo(ctx context.Context, owners []Owner, at int64) (paid map[Owner]AddressSet, err error) {
	paid = make(map[Owner]AddressSet, len(owners))
	err = s.db.Read(ctx, func(tx table.Tx) error {
		sets, err := addressSets(ctx, tx, "true") // what waits may take back what holds
		if err != nil {
			return err
		}
		for _, o := range owners {
			paid[o] = holding(sets[o], o, at)
		}
		return nil
	})
	return paid, err
}
