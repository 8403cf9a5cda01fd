package store

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	btcaddress "github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/ecdsa"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/ownership"
)

// keyOf is a key, and its P2WPKH address on regtest.
func keyOf(t testing.TB, n byte) (*btcec.PrivateKey, string) {
	t.Helper()
	key, pub := btcec.PrivKeyFromBytes([]byte{31: n})
	a, err := address.FromScript(append([]byte{0, 20}, btcaddress.Hash160(pub.SerializeCompressed())...), address.Regtest)
	if err != nil {
		t.Fatal(err)
	}
	return key, a.String()
}

// proof signs, as a wallet does, what an account wants.
func proof(t testing.TB, n byte, account, what string) *ownership.Proof {
	t.Helper()
	key, where := keyOf(t, n)
	c, err := ownership.NewClaim("pool", account, what, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text := c.Text()
	var message bytes.Buffer
	for _, part := range []string{"Bitcoin Signed Message:\n", text} {
		if err := wire.WriteVarString(&message, 0, part); err != nil {
			t.Fatal(err)
		}
	}
	signature := base64.StdEncoding.EncodeToString(ecdsa.SignCompact(key, chainhash.DoubleHashB(message.Bytes()), true))
	a, err := address.Parse(where)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ownership.Prove(a, "pool", text, signature, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mines makes the account of an address, as its first share does.
func mines(t testing.TB, s *Store, where string) Owner {
	t.Helper()
	change(t, s, "insert into accounts (kind, folded, name, created) values ('address', $1, $2, 1)", where, where)
	return Owner{Address, where}
}

func all(where string) []Part { return []Part{{where, Whole}} }

const day = int64(24 * 3600 * 1_000_000)

// paid is where an account is paid at a time, as a text.
func paid(t testing.TB, s *Store, of Owner, at int64) string {
	t.Helper()
	set, err := s.AddressesAt(t.Context(), of, at)
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.PaidTo(t.Context(), []Owner{of}, at)
	if err != nil || fmt.Sprint(list[of]) != fmt.Sprint(set) {
		t.Errorf("for a payout %+v, else %+v, %v", list[of], set, err)
	}
	return AddressWhat(set.Parts)
}

// 49: nobody but the owner changes the settings of an address account; the least payout
// has a bound; a changed payout address waits, is told, and can be taken back.
func TestCase49(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, _ := registered(t, where, 1)
		_, mine := keyOf(t, 1)
		_, other := keyOf(t, 2)
		_, thief := keyOf(t, 3)
		owner := mines(t, s, mine)
		least := func(value string, p *ownership.Proof) error {
			_, err := s.Set(t.Context(), Setting{Name: SettingLeast, Owner: owner, Value: value, By: "web", Proof: p})
			return err
		}
		pay := func(parts []Part, proofs ...*ownership.Proof) error {
			_, err := s.SetAddresses(t.Context(), AddressChange{Owner: owner, Parts: parts, By: "web", Proofs: proofs})
			return err
		}
		if paid(t, s, owner, now()) != AddressWhat(all(mine)) {
			t.Error("an address is not paid to itself")
		}
		good := proof(t, 1, mine, LeastWhat("50000"))
		if err := least("50000", good); err != nil {
			t.Fatal(err)
		}
		used := proof(t, 1, mine, AddressWhat(all(other)))
		begun := now()
		if err := pay(all(strings.ToUpper(other)), used); err != nil {
			t.Fatal(err)
		}
		before := logins(t, s)
		refused := func() {
			t.Helper()
			for name, err := range map[string]error{
				"least, no proof":         least("60000", nil),
				"least, another's proof":  least("60000", proof(t, 3, mine, LeastWhat("60000"))),
				"least, another value":    least("60000", proof(t, 1, mine, LeastWhat("50000"))),
				"least, another account":  least("60000", proof(t, 1, other, LeastWhat("60000"))),
				"least, the proof again":  least("50000", good),
				"least, too much":         least("1000000001", proof(t, 1, mine, LeastWhat("1000000001"))),
				"address, no proof":       pay(all(thief)),
				"address, the thief's":    pay(all(thief), proof(t, 3, mine, AddressWhat(all(thief)))),
				"address, another change": pay(all(thief), proof(t, 1, mine, AddressWhat(all(other)))),
				"address, again":          pay(all(other), used),
			} {
				if err == nil {
					t.Errorf("%s: no error", name)
				}
			}
			if after := logins(t, s); after != before {
				t.Errorf("refused, but changed\n%s\nto\n%s", before, after)
			}
		}
		refused()
		if got := paid(t, s, owner, now()); got != AddressWhat(all(mine)) {
			t.Errorf("it does not wait: %s", got)
		}
		if got := paid(t, s, owner, begun+3*day-1); got != AddressWhat(all(mine)) {
			t.Errorf("it does not wait: %s", got)
		}
		if got := paid(t, s, owner, now()+3*day); got != AddressWhat(all(other)) {
			t.Errorf("three days later: %s", got)
		}
		list, err := s.Changes(t.Context(), 0, 10)
		if err != nil || len(list) != 1 || list[0].Kind != NewMessage || list[0].Account != mine || !strings.Contains(list[0].Reason, time.UnixMicro(begun+3*day).UTC().Format("2006-01-02")) {
			t.Errorf("announced: %+v, %v", list, err)
		}
		// The owner takes it back, and it never holds, also not for a payout made later.
		if err := pay(all(mine), proof(t, 1, mine, AddressWhat(all(mine)))); err != nil {
			t.Fatal(err)
		}
		for _, at := range []int64{now(), now() + 3*day, now() + 400*day} {
			if got := paid(t, s, owner, at); got != AddressWhat(all(mine)) {
				t.Errorf("taken back, and paid %s", got)
			}
		}
		// Nor where what takes it back waits itself.
		if err := pay(all(thief), proof(t, 1, mine, AddressWhat(all(thief)))); err != nil {
			t.Fatal(err)
		}
		half := []Part{{mine, 333_333}, {other, 666_667}}
		checked, err := s.CheckParts(t.Context(), half)
		if err != nil {
			t.Fatal(err)
		}
		if err := pay(half, proof(t, 1, mine, AddressWhat(checked))); err != nil {
			t.Fatal(err)
		}
		change(t, s, "update address_sets set since = since + $1 where number = (select max(number) from address_sets)", day)
		if got := paid(t, s, owner, now()+3*day+day/2); got != AddressWhat(all(mine)) {
			t.Errorf("what was replaced before it held, holds: %s", got)
		}
		if got := paid(t, s, owner, now()+5*day); got != AddressWhat(checked) || !strings.Contains(got, "33.3333%") || !strings.Contains(got, "66.6667%") {
			t.Errorf("paid %s", got)
		}
		sets, err := s.AddressSets(t.Context(), owner)
		if err != nil || len(sets) != 4 || sets[0].Void == "" || sets[1].Void != "" || sets[2].Void == "" || sets[3].Void != "" {
			t.Errorf("%+v, %v", sets, err)
		}
		before = logins(t, s)
		refused()
		rows, err := s.Audit(t.Context(), 0)
		if err != nil || len(rows) != 5 || rows[3].Before != AddressWhat(all(mine)) || !strings.HasSuffix(rows[3].After, AddressWhat(all(other))) || rows[3].By != "web" {
			t.Errorf("%+v, %v", rows, err)
		}
	})
}

// An address is one account's: the first's that names it, or who proves it, or who mines
// under it.
func TestOwners(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, _ := registered(t, where, 1)
		people(t, s, "alice", "eve")
		_, a := keyOf(t, 1)
		_, b := keyOf(t, 2)
		_, mined := keyOf(t, 3)
		mines(t, s, mined)
		set := func(name string, parts []Part, proofs ...*ownership.Proof) error {
			_, err := s.SetAddresses(t.Context(), AddressChange{Owner: user(name), Parts: parts, By: name, Proofs: proofs})
			return err
		}
		if got, err := s.AddressesAt(t.Context(), user("alice"), now()); err != nil || len(got.Parts) != 0 {
			t.Errorf("paid to %+v without a word, %v", got, err)
		}
		if err := set("eve", all(a)); err != nil {
			t.Fatal(err)
		}
		if paid(t, s, user("eve"), now()) != AddressWhat(all(a)) {
			t.Error("the first address waits")
		}
		for name, err := range map[string]error{
			"named by eve":       set("alice", all(a)),
			"proved by another":  set("alice", all(a), proof(t, 2, "alice", AddressWhat(all(a)))),
			"of who mines there": set("alice", all(mined)),
		} {
			if !errors.Is(err, ErrOwned) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := set("alice", all(a), proof(t, 1, "alice", AddressWhat(all(a)))); err != nil {
			t.Fatal(err)
		}
		if paid(t, s, user("alice"), now()) != AddressWhat(all(a)) {
			t.Error("the owner does not have it")
		}
		if got, err := s.AddressesAt(t.Context(), user("eve"), now()); err != nil || len(got.Parts) != 0 || !strings.Contains(got.Void, "another account has proved that "+a) {
			t.Errorf("eve is paid to %+v, %v", got, err)
		}
		if err := set("eve", all(a)); !errors.Is(err, ErrOwned) {
			t.Errorf("eve again: %v", err)
		}
		if err := set("eve", all(b)); err != nil {
			t.Fatal(err)
		}
		if got := paid(t, s, user("eve"), now()+4*day); got != AddressWhat(all(b)) {
			t.Error(got)
		}
		// Who named an address keeps it, also when somebody sends shares under it.
		mines(t, s, b)
		if err := set("eve", all(b)); err != nil {
			t.Errorf("a stranger's shares take an address away: %v", err)
		}
	})
}

// What cannot be paid is refused with a reason, and changes nothing.
func TestBadAddresses(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		empty := open(t, where)
		people(t, empty, "bob")
		_, a := keyOf(t, 1)
		_, b := keyOf(t, 2)
		if _, err := empty.SetAddresses(t.Context(), AddressChange{Owner: user("bob"), Parts: all(a), By: "bob"}); err == nil || !strings.Contains(err.Error(), "its network is not known") {
			t.Error(err)
		}
		s, _ := registered(t, where, 1)
		before := logins(t, s)
		many := make([]Part, 21)
		text := func(script []byte) string {
			a, err := address.FromScript(script, address.Regtest)
			if err != nil {
				t.Fatal(err)
			}
			return a.String()
		}
		for name, tt := range map[string]struct {
			c    AddressChange
			want string
		}{
			"none":         {AddressChange{Owner: user("bob"), By: "bob"}, "0 addresses: want 1 to 20"},
			"many":         {AddressChange{Owner: user("bob"), By: "bob", Parts: many}, "21 addresses"},
			"no address":   {AddressChange{Owner: user("bob"), By: "bob", Parts: all("bcrt1qnot")}, `address "bcrt1qnot"`},
			"mainnet":      {AddressChange{Owner: user("bob"), By: "bob", Parts: all("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4")}, "is of mainnet, the pool is on regtest"},
			"anchor":       {AddressChange{Owner: user("bob"), By: "bob", Parts: all(text([]byte{0x51, 2, 0x4e, 0x73}))}, "anyone could take"},
			"no key":       {AddressChange{Owner: user("bob"), By: "bob", Parts: all(text(append([]byte{0x51, 32}, bytes.Repeat([]byte{0xff}, 32)...)))}, "nobody could ever spend"},
			"99 %":         {AddressChange{Owner: user("bob"), By: "bob", Parts: []Part{{a, 500_000}, {b, 490_000}}}, "sum up to 99 %: want 100"},
			"101 %":        {AddressChange{Owner: user("bob"), By: "bob", Parts: []Part{{a, 500_000}, {b, 510_000}}}, "sum up to 101 %"},
			"nothing":      {AddressChange{Owner: user("bob"), By: "bob", Parts: []Part{{a, Whole}, {b, 0}}}, "it would have 0 %"},
			"less":         {AddressChange{Owner: user("bob"), By: "bob", Parts: []Part{{a, Whole}, {b, -5}}}, "more than 0"},
			"overflow":     {AddressChange{Owner: user("bob"), By: "bob", Parts: []Part{{a, 1 << 62}, {b, 1 << 62}}}, "at most 100"},
			"twice":        {AddressChange{Owner: user("bob"), By: "bob", Parts: []Part{{a, 500_000}, {strings.ToUpper(a), 500_000}}}, "is there twice"},
			"unknown user": {AddressChange{Owner: user("eve"), By: "bob", Parts: all(a)}, "no such account: user eve"},
			"by nobody":    {AddressChange{Owner: user("bob"), Parts: all(a)}, "somebody"},
		} {
			if _, err := s.SetAddresses(t.Context(), tt.c); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if after := logins(t, s); after != before {
			t.Errorf("refused, but changed\n%s\nto\n%s", before, after)
		}
		// 34: bech32 may be written in capitals.
		if _, err := s.SetAddresses(t.Context(), AddressChange{Owner: user("bob"), Parts: all(strings.ToUpper(a)), By: "bob"}); err != nil {
			t.Error(err)
		}
		if got := paid(t, s, user("bob"), now()); got != "pay to "+a+" 100%" {
			t.Error(got)
		}
	})
}

// 49: a change that waits is announced for as long as it waits, also to who mines only in
// the last hours of that; not what was taken back, and not what holds.
func TestCase49Announced(t *testing.T) {
	each(t, func(t *testing.T, where string) {
		s, _ := registered(t, where, 1)
		people(t, s, "bob", "eve", "zoe")
		_, a := keyOf(t, 1)
		_, b := keyOf(t, 2)
		_, c := keyOf(t, 3)
		set := func(name, where string) {
			t.Helper()
			if _, err := s.SetAddresses(t.Context(), AddressChange{Owner: user(name), Parts: all(where), By: name}); err != nil {
				t.Fatal(err)
			}
		}
		set("bob", a)
		set("eve", b)
		set("bob", c) // waits
		begun := now()
		set("eve", b) // is what holds
		heard := func(after uint64) (texts []string, last uint64) {
			t.Helper()
			list, err := s.Changes(t.Context(), after, 1000)
			if err != nil {
				t.Fatal(err)
			}
			for last = after; len(list) > 0; list = list[1:] {
				if list[0].Kind == NewMessage && strings.Contains(list[0].Reason, "other addresses") {
					texts = append(texts, list[0].Account)
				}
				last = list[0].Number
			}
			return texts, last
		}
		_, last := heard(0)
		const hour = 3600_000_000
		for _, at := range []int64{hour, 5 * hour} {
			if err := s.Announce(t.Context(), begun+at); err != nil {
				t.Fatal(err)
			}
		}
		if texts, _ := heard(last); len(texts) != 0 {
			t.Errorf("told at once again: %v", texts)
		}
		// A pool that comes now hears what was told in the last hours, at any time.
		for at := int64(7); at < 72; at++ {
			if err := s.Announce(t.Context(), begun+at*hour); err != nil {
				t.Fatal(err)
			}
			var texts []string
			if texts, last = heard(last); len(texts) > 1 || slices.ContainsFunc(texts, func(name string) bool { return name != "bob" }) {
				t.Errorf("hour %d: %v", at, texts)
			}
		}
		day, _ := heard(0)
		if len(day) < 4 {
			t.Errorf("told %d times in the last day", len(day))
		}
		set("bob", a) // is taken back
		_, last = heard(0)
		for at := int64(72); at < 100; at += 5 {
			if err := s.Announce(t.Context(), begun+at*hour); err != nil {
				t.Fatal(err)
			}
		}
		if texts, _ := heard(last); len(texts) != 0 {
			t.Errorf("taken back, and told: %v", texts)
		}
	})
}
