package credentials

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Digest is what is kept of a recovery code or token. These are random and long, so
// that a plain hash cannot be guessed.
type Digest [sha256.Size]byte

// RecoveryCodes is how many there are.
const RecoveryCodes = 10

// NewRecoveryCodes makes codes of 100 bits that are good for one login each without an
// app, for the owner to keep, and what is kept here.
func NewRecoveryCodes() (codes []string, digests []Digest) {
	for range RecoveryCodes {
		text := strings.ToLower(rand.Text()[:20])
		code := text[:5] + "-" + text[5:10] + "-" + text[10:15] + "-" + text[15:]
		d, _ := RecoveryDigest(code)
		codes, digests = append(codes, code), append(digests, d)
	}
	return codes, digests
}

// RecoveryDigest is that of a code as somebody types it; ok tells that it may be one.
func RecoveryDigest(code string) (d Digest, ok bool) {
	text := strings.Map(func(r rune) rune {
		switch {
		case r == ' ' || r == '-':
			return -1
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return r
	}, code)
	return sha256.Sum256([]byte("recovery " + text)), len(text) == 20
}

const tokenPrefix = "ckdb-"

// NewToken makes a token of 256 bits for a program. Its text is shown once.
func NewToken() (text string, d Digest) {
	text = tokenPrefix + strings.ToLower(rand.Text()+rand.Text())
	d, _ = TokenDigest(text)
	return text, d
}

// TokenDigest is that of a token's text; ok tells that it may be one.
func TokenDigest(text string) (d Digest, ok bool) {
	return sha256.Sum256([]byte("token " + text)), strings.HasPrefix(text, tokenPrefix) && len(text) == len(tokenPrefix)+52
}

// Role is what somebody is to the pool.
type Role string

// Roles. Member is who only has an account.
const (
	Member     Role = ""
	Admin      Role = "admin"
	Accountant Role = "accountant"
	Support    Role = "support"
	Reader     Role = "reader"
)

// Scope is something that may be done.
type Scope string

// Scopes.
const (
	ReadOwn    Scope = "read-own"   // figures of one's own account
	ChangeOwn  Scope = "change-own" // its addresses and settings
	ReadAll    Scope = "read"       // figures of all accounts
	Miners     Scope = "miners"     // lock, hold, least difficulty, messages
	Money      Scope = "money"      // payouts, corrections, fees and settings of rewards
	Administer Scope = "administer" // roles, passwords and tokens of others
)

// roles are what each may do.
var roles = map[Role][]Scope{
	Member:     {ReadOwn, ChangeOwn},
	Reader:     {ReadOwn, ChangeOwn, ReadAll},
	Support:    {ReadOwn, ChangeOwn, ReadAll, Miners},
	Accountant: {ReadOwn, ChangeOwn, ReadAll, Money},
	Admin:      {ReadOwn, ChangeOwn, ReadAll, Miners, Money, Administer},
}

// ParseRole reads a role; "member" and "" are those without one.
func ParseRole(text string) (Role, error) {
	if text == "member" {
		return Member, nil
	}
	if _, ok := roles[Role(text)]; !ok {
		return Member, fmt.Errorf("role %q: want one of admin, accountant, support, reader, member", text)
	}
	return Role(text), nil
}

// Scopes are what a role may do.
func (r Role) Scopes() []Scope { return slices.Clone(roles[r]) }

// ErrScope tells that somebody may not do something.
var ErrScope = errors.New("not allowed")

// Allowed tells whether somebody of a role may do something; with a token only what the
// token is for.
func Allowed(r Role, token []Scope, want Scope) error {
	if !slices.Contains(roles[r], want) || token != nil && !slices.Contains(token, want) {
		return fmt.Errorf("%w: it takes %s", ErrScope, want)
	}
	return nil
}

// ParseScopes reads what a token is to be for, with commas between, and refuses what
// its owner may not do.
func ParseScopes(r Role, text string) (list []Scope, err error) {
	for name := range strings.SplitSeq(text, ",") {
		if s := Scope(strings.TrimSpace(name)); !slices.Contains(roles[r], s) {
			return nil, fmt.Errorf("scope %q: want some of %v", name, roles[r])
		} else if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	slices.Sort(list)
	return list, nil
}
