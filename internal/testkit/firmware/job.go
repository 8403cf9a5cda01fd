package firmware

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/btcsuite/btcd/wire/v2"
)

// job is one mining.notify, immutable.
type job struct {
	id             string
	prev           [32]byte // internal order
	coinb1, coinb2 []byte
	branch         [][32]byte
	version, bits  uint32
	ntime          uint32
	clean          bool
	text           string // all of the parameters but the id
	received       time.Time
	network        float64 // difficulty of bits
}

// recentJob is what firmware remembers of a job to ignore its repetition.
type recentJob struct {
	id, text string
	followed float64 // difficulty announced when it came
}

// notify takes new work, if the firmware can.
func (d *Device) notify(params []json.RawMessage) {
	d.stats.Jobs++
	if !d.subscribed {
		d.stats.lose("notify before the subscribe reply")
		return
	}
	j, reason := parseJob(params, &d.traits)
	if reason == "" {
		reason = d.checkJob(j)
	}
	if reason != "" {
		d.stats.lose("notify: %s", reason)
		return
	}
	if d.traits.knownIDs > 0 {
		i := slices.IndexFunc(d.recent, func(r recentJob) bool { return r.id == j.id })
		if i >= 0 {
			if known := d.recent[i]; known.text != j.text || known.followed != d.announced {
				d.stats.lose("notify with the known job id %s is ignored, though something changed", j.id)
			}
			return
		}
		if len(d.recent) == d.traits.knownIDs {
			d.recent = d.recent[1:]
		}
		d.recent = append(d.recent, recentJob{j.id, j.text, d.announced})
	}
	if j.clean {
		d.stats.CleanJobs++
	}
	if d.job == nil || j.clean || d.traits.restarts == onNotify {
		d.search = search{}
	} else {
		d.search.advance(d)
	}
	d.job = j
	d.adopt()
}

// parseJob reads the parameters; the reason says why the firmware cannot.
func parseJob(params []json.RawMessage, t *traits) (*job, string) {
	if len(params) < 9 {
		return nil, strconv.Itoa(len(params)) + " parameters"
	}
	texts := make([]string, 8)
	for i := range texts {
		if i != 4 && json.Unmarshal(params[i], &texts[i]) != nil {
			return nil, "parameter " + strconv.Itoa(i) + " is no string"
		}
	}
	var branch []string
	if json.Unmarshal(params[4], &branch) != nil || branch == nil {
		return nil, "merkle branches are no array of strings"
	}
	// Its place is the last one, however many there are.
	clean := string(params[len(params)-1])
	if clean != "true" && clean != "false" {
		return nil, "clean_jobs is neither true nor false"
	}
	switch {
	case texts[0] == "":
		return nil, "empty job id"
	case t.jobIDLimit > 0 && len(texts[0]) > t.jobIDLimit:
		return nil, "job id of " + strconv.Itoa(len(texts[0])) + " characters is cut"
	case t.coinb1Limit > 0 && len(texts[2]) > t.coinb1Limit:
		return nil, "first part of the coinbase, " + strconv.Itoa(len(texts[2])) + " digits, is cut"
	case t.coinb2Limit > 0 && len(texts[3]) > t.coinb2Limit:
		return nil, "second part of the coinbase, " + strconv.Itoa(len(texts[3])) + " digits, is cut"
	case t.branchLimit > 0 && len(branch) > t.branchLimit:
		return nil, strconv.Itoa(len(branch)) + " merkle branches"
	case len(texts[1]) != 64:
		return nil, "previous hash of " + strconv.Itoa(len(texts[1])) + " digits"
	}
	j := &job{id: texts[0], clean: clean == "true", received: time.Now()}
	for _, p := range params[1:] {
		j.text += string(p) + ","
	}
	prev, err := hex.DecodeString(texts[1])
	if err != nil {
		return nil, "previous hash: " + err.Error()
	}
	for i := 0; i < 32; i += 4 {
		binary.LittleEndian.PutUint32(j.prev[i:], binary.BigEndian.Uint32(prev[i:]))
	}
	if j.coinb1, err = hex.DecodeString(texts[2]); err != nil {
		return nil, "first part of the coinbase: " + err.Error()
	}
	if j.coinb2, err = hex.DecodeString(texts[3]); err != nil {
		return nil, "second part of the coinbase: " + err.Error()
	}
	for _, text := range branch {
		b, err := hex.DecodeString(text)
		if err != nil || len(b) != 32 {
			return nil, "merkle branch " + text
		}
		j.branch = append(j.branch, [32]byte(b))
	}
	for i, into := range map[int]*uint32{5: &j.version, 6: &j.bits, 7: &j.ntime} {
		v, err := strconv.ParseUint(texts[i], 16, 32)
		if err != nil || len(texts[i]) != 8 {
			return nil, "parameter " + strconv.Itoa(i) + " is not 8 hex digits: " + texts[i]
		}
		*into = uint32(v)
	}
	j.network = math.Ldexp(float64(0xffff)/float64(j.bits&0xffffff), 8*(29-int(j.bits>>24)))
	return j, ""
}

// checkJob looks at what depends on the session.
func (d *Device) checkJob(j *job) string {
	if j.version&d.mask != 0 && d.traits.rolls != byReplacing {
		d.stats.lose("job version %08x has bits of the mask %08x: firmware that does not replace them hashes another header", j.version, d.mask)
	}
	coinbase := slices.Concat(j.coinb1, d.extranonce1, make([]byte, d.nonce2Size), j.coinb2)
	if limit := d.traits.coinbaseLimit; limit > 0 && len(coinbase) > limit {
		return "coinbase of " + strconv.Itoa(len(coinbase)) + " bytes, it has room for " + strconv.Itoa(limit)
	}
	tx := new(wire.MsgTx)
	r := bytes.NewReader(coinbase)
	if err := tx.DeserializeNoWitness(r); err != nil || r.Len() > 0 || len(tx.TxIn) != 1 {
		return "coinbase is no transaction"
	}
	if l := len(tx.TxIn[0].SignatureScript); l < 2 || l > 100 {
		return "coinbase script of " + strconv.Itoa(l) + " bytes"
	}
	return ""
}

// search is where in a job the device is: it steps through nonces, then version
// bits, then extranonce2.
type search struct {
	nonce2  uint64
	rolled  uint32 // number of the choice of version bits
	nonce   uint32 // counts from 0
	ready   bool   // header is that of this place
	header  [80]byte
	bits    uint32 // of the version, rolled
	ntime   uint32
	hex2    string // extranonce2 as submitted
	worker  int    // that mines here
	elapsed uint32 // seconds by which ntime was raised
}

const (
	nonces   = 4096 // for one choice of version bits
	versions = 4    // for one extranonce2
)

// advance goes to the next extranonce2.
func (s *search) advance(d *Device) {
	s.nonce, s.rolled, s.ready = 0, 0, false
	if !d.traits.fixedNonce2 {
		s.nonce2++
	}
}

// step goes to the next nonce.
func (s *search) step(d *Device) {
	s.nonce++
	if d.traits.fixedNonce2 || s.nonce < nonces {
		return
	}
	s.nonce, s.ready = 0, false
	if s.rolled++; d.mask == 0 || s.rolled == versions {
		s.advance(d)
	}
}

// prepare makes the header of the place but for its nonce.
func (s *search) prepare(d *Device) {
	j := d.job
	size := d.nonce2Size
	if d.traits.nonce2Size > 0 {
		size = d.traits.nonce2Size
	}
	nonce2 := make([]byte, size)
	counter := s.nonce2
	if d.traits.fixedNonce2 {
		counter = 1
	}
	for i := size - 1; i >= 0 && counter > 0; i-- {
		nonce2[i] = byte(counter)
		counter >>= 8
	}
	s.worker = 0
	if n := d.traits.logins; n > 1 && size > 0 {
		s.worker = int(s.nonce2) % n
		nonce2[0] = byte(s.worker)
	}
	s.hex2 = hex.EncodeToString(nonce2)
	root := doubleHash(slices.Concat(j.coinb1, d.extranonce1, nonce2, j.coinb2))
	for _, b := range j.branch {
		root = doubleHash(slices.Concat(root[:], b[:]))
	}
	version := j.version
	s.bits = 0
	if d.traits.rolls != never {
		s.bits = deposit(s.rolled, d.mask)
	}
	switch d.traits.rolls {
	case byOr:
		version |= s.bits
	case byXor:
		version ^= s.bits
	case byReplacing:
		version = version&^d.mask | s.bits
	}
	s.ntime = j.ntime + s.elapsed
	binary.LittleEndian.PutUint32(s.header[0:], version)
	copy(s.header[4:], j.prev[:])
	copy(s.header[36:], root[:])
	binary.LittleEndian.PutUint32(s.header[68:], s.ntime)
	binary.LittleEndian.PutUint32(s.header[72:], j.bits)
	s.ready = true
}

// hash is the hash of the place, and its nonce.
func (s *search) hash(d *Device) ([32]byte, uint32) {
	if d.traits.rollsTime {
		if elapsed := uint32(time.Since(d.job.received) / time.Second); elapsed != s.elapsed {
			s.elapsed, s.ready = elapsed, false
		}
	}
	if !s.ready {
		s.prepare(d)
	}
	nonce := d.traits.startNonce + s.nonce
	binary.LittleEndian.PutUint32(s.header[76:], nonce)
	return doubleHash(s.header[:]), nonce
}

func doubleHash(b []byte) [32]byte {
	once := sha256.Sum256(b)
	return sha256.Sum256(once[:])
}

// deposit spreads the low bits of v over the bits of mask.
func deposit(v, mask uint32) uint32 {
	var out uint32
	for ; mask != 0; mask &= mask - 1 {
		if v&1 != 0 {
			out |= mask & -mask
		}
		v >>= 1
	}
	return out
}

// difficultyOf is what a hash in internal order achieves.
func difficultyOf(h *[32]byte) float64 {
	const one = 0xffff // times 2^208
	value := 0.0
	for i := 3; i >= 0; i-- {
		value += math.Ldexp(float64(binary.LittleEndian.Uint64(h[8*i:])), 64*i)
	}
	if value == 0 {
		return math.Inf(1)
	}
	return math.Ldexp(one, 208) / value
}
