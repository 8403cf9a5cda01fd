package jobs

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/work"
)

// Addresses of regtest with their scripts, as btcd and BIP173 have them.
const (
	restAddress = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
	restScript  = "0014751e76e8199196d454941c45d1b3a323f1433bd6"
	partAddress = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry"
	partScript  = "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262"
)

// Whom a block pays is decided by the addresses on the chain, parts exactly, and who
// has the rest has what is less than a satoshi.
func TestPayout(t *testing.T) {
	third := Payee{Name: "second", Address: partAddress, Part: work.Fraction{Num: 1, Den: 3}}
	two := Payout{Rest: Payee{Name: "first", Address: restAddress}, Parts: []Payee{third, third}}
	s, err := two.on("regtest")
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(s.rest) != restScript {
		t.Errorf("the rest is paid to %x", s.rest)
	}
	var values []int64
	for _, o := range s.parts {
		if hex.EncodeToString(o.Script) != partScript || !o.Required {
			t.Errorf("a part is paid to %x, in every coinbase %v", o.Script, o.Required)
		}
		values = append(values, o.Part.Of(100))
	}
	if !slices.Equal(values, []int64{33, 33}) {
		t.Errorf("thirds of 100 satoshis are %v", values)
	}
	if err := two.Fits("main"); err == nil || !strings.Contains(err.Error(), "first") || !strings.Contains(err.Error(), `"main"`) {
		t.Errorf("on main: %v", err)
	}
	two.Parts[1].Address = "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"
	two.Parts[1].Name = "third"
	if err := two.Fits("regtest"); err == nil || !strings.Contains(err.Error(), "third") {
		t.Errorf("with one of another network: %v", err)
	}
}

// Where the chain is not known, addresses of regtest in base58, written as those of testnet, do
// not make others of regtest wrong.
func TestPayoutOfUnknownChain(t *testing.T) {
	old := Payee{Name: "old", Address: "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn", Part: work.Fraction{Num: 1, Den: 2}}
	for _, p := range []Payout{
		{Rest: Payee{Name: "new", Address: restAddress}, Parts: []Payee{old}},
		{Rest: old, Parts: []Payee{{Name: "new", Address: restAddress, Part: old.Part}}},
	} {
		if err := p.Fits(""); err != nil {
			t.Error(err)
		}
	}
}

// The configuration of a pool pays btcaddress, in solo who finds the block, and the donation.
func TestPayoutOfConfiguration(t *testing.T) {
	c := &config.Config{BTCAddress: restAddress, DonAddress: partAddress, Donation: 1.5}
	for _, solo := range []bool{false, true} {
		p := PayoutOf(c, solo)
		s, err := p.on("regtest")
		if err != nil {
			t.Fatal(err)
		}
		if p.Solo() != solo || (s.rest == nil) != solo || len(s.parts) != 1 || s.parts[0].Part.Of(1000) != 15 {
			t.Errorf("solo %v: %+v", solo, s)
		}
	}
	c.Donation = 0
	if p := PayoutOf(c, false); len(p.Parts) != 0 || p.Solo() {
		t.Errorf("without a donation: %+v", p)
	}
}
