package credentials

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"net/url"
	"strings"
	"time"
)

// Algorithm is the hash of one-time codes.
type Algorithm string

// Algorithms: apps know SHA1; the reference's ckdb gave out keys for SHA256.
const (
	SHA1   Algorithm = "SHA1"
	SHA256 Algorithm = "SHA256"
)

func (a Algorithm) new() func() hash.Hash {
	switch a {
	case SHA1:
		return sha1.New
	case SHA256:
		return sha256.New
	}
	return nil
}

const (
	stepTime   = 30 * time.Second
	codeDigits = 6
	codeRange  = 1_000_000
	keyLength  = 20 // RFC 4226 wants 16 at least
)

var codeBase = base32.StdEncoding.WithPadding(base32.NoPadding)

// Secret is what an app makes one-time codes of.
type Secret struct {
	Algorithm Algorithm
	Key       []byte
}

// NewSecret makes one that every app takes.
func NewSecret() Secret {
	key := make([]byte, keyLength)
	rand.Read(key) // never fails
	return Secret{SHA1, key}
}

// String is the form in which it is kept, "SHA1:BASE32".
func (s Secret) String() string { return string(s.Algorithm) + ":" + s.Base32() }

// Base32 is what a person types into an app.
func (s Secret) Base32() string { return codeBase.EncodeToString(s.Key) }

// ParseSecret reads what String gave. The error does not repeat it.
func ParseSecret(text string) (Secret, error) {
	a, key, _ := strings.Cut(text, ":")
	b, err := codeBase.DecodeString(key)
	if err != nil || len(b) < 10 || len(b) > 64 || Algorithm(a).new() == nil {
		return Secret{}, errors.New("secret of one-time codes: want SHA1: or SHA256:, and 10 to 64 bytes in base 32")
	}
	return Secret{Algorithm(a), b}, nil
}

// URL is what an app reads from a picture.
func (s Secret) URL(issuer, account string) string {
	return (&url.URL{Scheme: "otpauth", Host: "totp", Path: "/" + issuer + ":" + account, RawQuery: fmt.Sprintf("secret=%s&issuer=%s&algorithm=%s&digits=%d&period=%d",
		s.Base32(), url.QueryEscape(issuer), s.Algorithm, codeDigits, int(stepTime/time.Second))}).String()
}

// code is that of a step, which are counted since 1970.
func (s Secret) code(step int64, digits uint32) uint32 {
	m := hmac.New(s.Algorithm.new(), s.Key)
	m.Write(binary.BigEndian.AppendUint64(nil, uint64(step)))
	sum := m.Sum(nil)
	at := sum[len(sum)-1] & 15
	return binary.BigEndian.Uint32(sum[at:]) & 0x7fffffff % digits
}

// Match gives the step that a code is of: this one, that before or the next one, for
// clocks that differ, but none up to the last one used.
func (s Secret) Match(code string, now time.Time, last int64) (step int64, ok bool) {
	code = strings.Map(func(r rune) rune {
		if r == ' ' {
			return -1
		}
		return r
	}, code)
	this := now.Unix() / int64(stepTime/time.Second)
	for n := this + 1; n >= this-1; n-- {
		want := fmt.Sprintf("%0*d", codeDigits, s.code(n, codeRange))
		if subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 && n > last {
			step, ok = n, true
		}
	}
	return step, ok
}
