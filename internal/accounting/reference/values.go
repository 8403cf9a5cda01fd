package reference

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/work"
)

// values reads the fields of a request; err is what was wrong first.
type values struct {
	*Request
	err error
}

func (v *values) fail(name, value, want string) {
	if v.err == nil {
		v.err = fmt.Errorf("%s: %s is %s, want %s", v.Command, name, shown(value), want)
	}
}

// text is a field that has to be there.
func (v *values) text(name string) string {
	s, ok := v.Value(name)
	if !ok && v.err == nil {
		v.err = fmt.Errorf("%s: there is no %s", v.Command, name)
	}
	return s
}

// optional is a field that may be missing.
func (v *values) optional(name string) string {
	s, _ := v.Value(name)
	return s
}

// whole is a number from least to most.
func (v *values) whole(name string, least, most int64) int64 {
	s := v.text(name)
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < least || n > most {
		v.fail(name, s, fmt.Sprintf("a number from %d to %d", least, most))
	}
	return n
}

// job is the number of work, which also is that of a job.
func (v *values) job() uint64 { return uint64(v.whole("workinfoid", 1, math.MaxInt64)) }

// maxCredit is the most that a share can be of.
const maxCredit = 1e18

// real is a number that is not below 0.
func (v *values) real(name string, most float64) float64 {
	s := v.text(name)
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 0 && f <= most) {
		v.fail(name, s, fmt.Sprintf("a number from 0 to %g", most))
	}
	return f
}

// word is 8 hex digits.
func (v *values) word(name string) uint32 {
	s := v.text(name)
	n, err := strconv.ParseUint(s, 16, 32)
	if err != nil || len(s) != 8 {
		v.fail(name, s, "8 hex digits")
	}
	return uint32(n)
}

// hash is one as people write it, in internal order.
func (v *values) hash(name string) [32]byte {
	s := v.text(name)
	h, err := work.ParseHash(s)
	if err != nil {
		v.fail(name, s, "64 hex digits")
	}
	return h
}

// swapped is a hash as the reference sends it to miners and its database: the eight
// words of what people write, the last first. It is returned in internal order.
func (v *values) swapped(name string) [32]byte {
	s := v.text(name)
	h, err := unswap(s)
	if err != nil {
		v.fail(name, s, "64 hex digits")
	}
	return h
}

func unswap(s string) (h [32]byte, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) {
		return h, errors.New("want 64 hex digits")
	}
	for i := range h {
		h[i] = b[i&^3|3-i&3]
	}
	return h, nil
}

// created is when it happened, in microseconds since 1970.
func (v *values) created() int64 {
	s := v.text("createdate")
	t, err := parseTime(s)
	if err != nil {
		v.fail("createdate", s, "seconds,nanoseconds")
	}
	return t
}

func parseTime(s string) (int64, error) {
	seconds, rest, ok := strings.Cut(s, ",")
	sec, err := strconv.ParseUint(seconds, 10, 33)
	nsec := uint64(0)
	if err == nil && ok {
		nsec, err = strconv.ParseUint(rest, 10, 32)
	}
	if err != nil || sec == 0 || nsec >= 1e9 {
		return 0, errors.New("no time")
	}
	return int64(sec)*1_000_000 + int64(nsec+500)/1000, nil
}

// near are times that belong together.
const near = 24 * time.Hour

func isNear(t, u int64) bool { return max(t, u)-min(t, u) <= near.Microseconds() }

// height of the block that a coinbase begins: behind the 42nd byte, in which its
// length is.
func height(coinbase1 string) (int64, error) {
	const at = 42
	b, err := hex.DecodeString(coinbase1)
	if err != nil || len(b) <= at || b[at] < 1 || b[at] > 4 || len(b) <= at+int(b[at]) {
		return 0, errors.New("want a coinbase with a height")
	}
	n := int64(0)
	for i := int(b[at]); i > 0; i-- {
		n = n<<8 | int64(b[at+i])
	}
	return n, nil
}

// name is whose request it is: user and whole name of the worker.
func (v *values) name() (user, worker string) {
	user, worker = v.optional("username"), v.optional("workername")
	if user == "" {
		user = worker
		if i := strings.IndexAny(worker, "._"); i >= 0 {
			user = worker[:i]
		}
	}
	if worker == "" {
		worker = user
	}
	if user == "" && v.err == nil {
		v.err = fmt.Errorf("%s: there is neither username nor workername", v.Command)
	}
	return user, worker
}

// rate is a hash rate as difficulty per second.
func (v *values) rate(name string) difficulty.Exact {
	return difficulty.ExactOf(v.real(name, maxCredit*difficulty.HashesPerDifficulty) / difficulty.HashesPerDifficulty)
}
