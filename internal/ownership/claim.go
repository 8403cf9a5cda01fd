package ownership

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ckpool/ckpool/address"
)

// Claim is what the owner of an address wants, for the owner to sign.
type Claim struct {
	Pool    string    // by its name
	Account string    // whose settings change
	What    string    // the change, in words that are made by who carries it out
	Time    time.Time // when it was made, in whole seconds
	Once    string    // 32 hexadecimal digits
}

// How old a claim may be, and how far ahead of this clock.
const (
	MaxAge   = 15 * time.Minute
	MaxAhead = 2 * time.Minute
)

// NewClaim makes one with a number of its own.
func NewClaim(pool, account, what string, now time.Time) (Claim, error) {
	var once [16]byte
	rand.Read(once[:]) // never fails
	c := Claim{Pool: pool, Account: account, What: what, Time: now.UTC().Truncate(time.Second), Once: hex.EncodeToString(once[:])}
	again, err := ParseClaim(c.Text())
	if err == nil && again != c {
		err = errors.New("want no spaces at the ends")
	}
	if err != nil {
		return Claim{}, fmt.Errorf("a claim cannot be of pool %q, account %q, %q: %w", pool, account, what, err)
	}
	return c, nil
}

var labels = [...]string{"Pool", "Account", "Change", "Time", "Once"}

// Text is what is signed: one line, since wallets differ in how they end lines.
func (c Claim) Text() string {
	var b strings.Builder
	for i, field := range []string{c.Pool, c.Account, c.What, c.Time.UTC().Format(time.RFC3339), c.Once} {
		if i > 0 {
			b.WriteString(" | ")
		}
		b.WriteString(labels[i] + ": " + field)
	}
	return b.String()
}

// ParseClaim reads what Text gave, and nothing else.
func ParseClaim(text string) (c Claim, err error) {
	malformed := errors.New("this is not a text that the pool gave to sign")
	if len(text) > MaxMessage {
		return c, malformed
	}
	parts := strings.Split(text, " | ")
	if len(parts) != len(labels) {
		return c, malformed
	}
	for i, p := range parts {
		field, ok := strings.CutPrefix(p, labels[i]+": ")
		if !ok || field == "" || strings.ContainsFunc(field, func(r rune) bool { return r < ' ' || r == '|' || r == 0x7f || r == 0xfffd }) {
			return c, malformed
		}
		parts[i] = field
	}
	c = Claim{Pool: parts[0], Account: parts[1], What: parts[2], Once: parts[4]}
	if c.Time, err = time.Parse(time.RFC3339, parts[3]); err != nil {
		return Claim{}, malformed
	}
	c.Time = c.Time.UTC()
	if once, err := hex.DecodeString(c.Once); err != nil || len(once) != 16 || c.Text() != text {
		return Claim{}, malformed
	}
	return c, nil
}

// Proof is that of an address, for one change. It cannot be made but by [Prove].
type Proof struct {
	claim   Claim
	address address.Address
}

// Address that was proved.
func (p *Proof) Address() address.Address { return p.address }

// Claim that was signed.
func (p *Proof) Claim() Claim { return p.claim }

// Prove reads the text of a claim to a pool and checks that a signed it lately. Whether
// it was used before is for who carries it out to know, by its Once.
func Prove(a address.Address, pool, text, signature string, now time.Time) (*Proof, error) {
	c, err := ParseClaim(text)
	age := now.Sub(c.Time)
	switch {
	case err != nil:
		return nil, err
	case c.Pool != pool:
		return nil, fmt.Errorf("the text is for pool %q, this is %q", c.Pool, pool)
	case age > MaxAge:
		return nil, fmt.Errorf("the text is of %s, more than %s ago: ask for a new one", c.Time.Format(time.RFC3339), MaxAge)
	case age < -MaxAhead:
		return nil, fmt.Errorf("the text is of %s, which is yet to come: ask for a new one", c.Time.Format(time.RFC3339))
	}
	if err := Verify(a, text, signature); err != nil {
		return nil, fmt.Errorf("address %s: %w", a, err)
	}
	return &Proof{claim: c, address: a}, nil
}
