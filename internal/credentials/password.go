package credentials

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// MaxPassword is the most bytes of a password.
const MaxPassword = 256

// Cost of a new hash: memory in KiB, passes, threads. About 20 ms and 19 MiB, the
// least that OWASP's cheat sheet on storing passwords gives for argon2id.
const (
	hashMemory  = 19 << 10
	hashPasses  = 2
	hashThreads = 1
	hashLength  = 32
	saltLength  = 16
)

// HashPassword makes what is kept of a password: argon2id in the form
// "$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH" of the PHC string format.
func HashPassword(password string) (string, error) {
	if password == "" || len(password) > MaxPassword {
		return "", fmt.Errorf("want a password of 1 to %d bytes", MaxPassword)
	}
	salt := make([]byte, saltLength)
	rand.Read(salt) // never fails
	sum := argon2.IDKey([]byte(password), salt, hashPasses, hashMemory, hashThreads, hashLength)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("%sm=%d,t=%d,p=%d$%s$%s", argonPrefix, hashMemory, hashPasses, hashThreads, b64(salt), b64(sum)), nil
}

var argonPrefix = fmt.Sprintf("$argon2id$v=%d$", argon2.Version)

// referencePrefix is before hashes of the reference's ckdb: salt and hash in hex.
const referencePrefix = "$ckdb-sha256$"

// OfReference makes what is kept of a password out of what the reference's ckdb kept:
// the hash in 64 hex digits and its salt in 32, or without one. It is good until the
// first login, which makes one of HashPassword of it.
func OfReference(hash, salt string) (string, error) {
	sum, err := hex.DecodeString(hash)
	if err != nil || len(sum) != sha256.Size {
		return "", errors.New("hash of a password: want 64 hexadecimal digits")
	}
	grain, err := hex.DecodeString(salt)
	if err != nil || len(grain) > 64 {
		return "", errors.New("salt of a password: want hexadecimal digits, 32 or none")
	}
	return referencePrefix + hex.EncodeToString(grain) + "$" + hex.EncodeToString(sum), nil
}

// IsReference tells whether what is kept of a password is what OfReference made: nobody
// has logged in with it here.
func IsReference(hash string) bool { return strings.HasPrefix(hash, referencePrefix) }

// Hash is what is kept of a password, taken apart.
type Hash struct {
	memory, passes uint32 // of argon2id; 0: the reference's SHA-256
	threads        uint8
	salt, sum      []byte
}

// errHash says nothing of the hash: it may be in a log.
var errHash = errors.New("the account's password is kept in a form that is not known: set it again")

// ParseHash reads what HashPassword, OfReference or other software made.
func ParseHash(s string) (h Hash, err error) {
	var saltErr, sumErr error
	if rest, ok := strings.CutPrefix(s, referencePrefix); ok {
		salt, sum, _ := strings.Cut(rest, "$")
		h.salt, saltErr = hex.DecodeString(salt)
		h.sum, sumErr = hex.DecodeString(sum)
		if saltErr != nil || sumErr != nil || len(h.sum) != sha256.Size {
			return Hash{}, errHash
		}
		return h, nil
	}
	rest, ok := strings.CutPrefix(s, argonPrefix)
	parts := strings.Split(rest, "$")
	if !ok || len(parts) != 3 {
		return Hash{}, errHash
	}
	if _, err := fmt.Sscanf(parts[0], "m=%d,t=%d,p=%d", &h.memory, &h.passes, &h.threads); err != nil {
		return Hash{}, errHash
	}
	h.salt, saltErr = base64.RawStdEncoding.DecodeString(parts[1])
	h.sum, sumErr = base64.RawStdEncoding.DecodeString(parts[2])
	const most = 1 << 20 // 1 GiB
	if saltErr != nil || sumErr != nil || h.memory < 8 || h.memory > most || h.passes < 1 || h.passes > 100 || h.threads < 1 || len(h.sum) < 16 || len(h.sum) > 64 {
		return Hash{}, errHash
	}
	return h, nil
}

// Matches tells whether a password is the one.
func (h *Hash) Matches(password string) bool {
	var sum []byte
	if h.passes == 0 {
		sum = referenceSum(password, h.salt)
	} else {
		sum = argon2.IDKey([]byte(password), h.salt, h.passes, h.memory, h.threads, uint32(len(h.sum)))
	}
	return subtle.ConstantTimeCompare(sum, h.sum) == 1
}

// Weak tells that a hash should be made anew, now that its password is there.
func (h *Hash) Weak() bool { return h.passes == 0 }

// referenceSum is that of SHA-256 over the SHA-256 of the password, which its web site
// made, and the salt.
func referenceSum(password string, salt []byte) []byte {
	p := sha256.Sum256([]byte(password))
	if len(salt) == 0 {
		return p[:]
	}
	sum := sha256.Sum256(append(p[:], salt...))
	return sum[:]
}
