package otherpool

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"strconv"
	"strings"
)

const (
	bits  = 0x1d00ffff
	ntime = 0x6b02867d
	tag   = "/other/"

	ntimeRoom = 7000 // seconds that miners may add, as ckpool lets them
)

// job is work as a connection was given it.
type job struct {
	id             string
	height, serial int
	extranonce1    string // hexadecimal
	extranonce2Len int
	coinb1, coinb2 string // likewise
	difficulty     float64
	mask           uint32
	clean          bool
}

// nextJob makes the newest job, on another block or on the same. p.mu is held, or
// nobody else has p. Shares of the block before are taken all the same, but none twice.
func (p *Pool) nextJob(block bool) {
	p.jobs++
	if block {
		p.height++
		maps.DeleteFunc(p.seen, func(_ string, at int) bool { return at < p.height-1 })
	}
	p.job = job{id: fmt.Sprintf("%016x", p.jobs), height: p.height, serial: p.jobs, clean: block}
}

// prevHash is made up, as all parts of work: it differs between blocks.
func prevHash(height int) []byte {
	h := sha256.Sum256([]byte{byte(height), byte(height >> 8), 'p'})
	return h[:]
}

func (j *job) branch(i int) []byte {
	h := sha256.Sum256([]byte{byte(j.serial), byte(j.serial >> 8), byte(i), 'b'})
	return h[:]
}

// notify sends the newest job; p.mu is held.
func (p *Pool) notify(c *conn) {
	j := p.job
	j.extranonce1, j.extranonce2Len, j.difficulty, j.mask = c.extranonce1, c.extranonce2Len, p.difficulty, c.mask
	j.coinb1, j.coinb2 = coinbase(j.height, j.serial, len(j.extranonce1)/2+j.extranonce2Len)
	if p.config.JobPerClient {
		j.id += fmt.Sprintf("%02x", c.number&0xff)
		j.coinb1, j.coinb2 = coinbase(j.height, j.serial<<8|c.number&0xff, len(j.extranonce1)/2+j.extranonce2Len)
	}
	c.jobs[j.id] = append(c.jobs[j.id], j)
	var wire strings.Builder
	for prev := prevHash(j.height); len(prev) > 0; prev = prev[4:] {
		fmt.Fprintf(&wire, "%02x%02x%02x%02x", prev[3], prev[2], prev[1], prev[0])
	}
	branches := []string{}
	for i := range p.config.Branches {
		branches = append(branches, hex.EncodeToString(j.branch(i)))
	}
	list, _ := json.Marshal(branches) // strings always can
	c.send(`{"params":["%s","%s","%s","%s",%s,"%08x","%08x","%08x",%v],"id":null,"method":"mining.notify"}`,
		j.id, wire.String(), j.coinb1, j.coinb2, list, p.config.Version, bits, ntime, j.clean)
}

// coinbase is a coinbase transaction around extranonces of so many bytes: the height
// (BIP34), the extranonces and a tag; one output, of a value that makes it its own.
func coinbase(height, serial, extranonces int) (coinb1, coinb2 string) {
	height += 800_000
	script := 4 + extranonces + len(tag)
	coinb1 = "01000000" + "01" + strings.Repeat("00", 32) + "ffffffff" + fmt.Sprintf("%02x", script) +
		fmt.Sprintf("03%02x%02x%02x", byte(height), byte(height>>8), byte(height>>16))
	value := binary.LittleEndian.AppendUint64(nil, uint64(312_500_000-serial))
	coinb2 = hex.EncodeToString([]byte(tag)) + "ffffffff" + "01" + hex.EncodeToString(value) +
		"160014" + strings.Repeat("ab", 20) + "00000000"
	return coinb1, coinb2
}

// check computes a share anew. judged is the difficulty it was judged by; an error
// comes with the reason the client is told, unless that is the error itself.
func (p *Pool) check(c *conn, params []json.RawMessage) (worker string, judged float64, reason string, err error) {
	var text [6]string
	if len(params) != 5 && len(params) != 6 {
		return "", 0, "", fmt.Errorf("%d params", len(params))
	}
	for i, raw := range params {
		if err := json.Unmarshal(raw, &text[i]); err != nil {
			return "", 0, "", fmt.Errorf("param %d: %w", i, err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	worker = text[0]
	if !c.names[worker] {
		return worker, 0, Unauthorized, fmt.Errorf("%q is not authorized on this connection", worker)
	}
	given := c.jobs[text[1]]
	if len(given) == 0 {
		return worker, 0, UnknownJob, fmt.Errorf("job %q was never given", text[1])
	}
	// One sent again after another extranonce is judged by that, or the one before.
	for i := len(given) - 1; i >= 0; i-- {
		judged, reason, err = p.checkJob(&given[i], &text)
		if err == nil || i > 0 && given[i-1].extranonce1 == given[i].extranonce1 && given[i-1].difficulty == given[i].difficulty {
			break
		}
	}
	return worker, judged, reason, err
}

func (p *Pool) checkJob(j *job, text *[6]string) (judged float64, reason string, err error) {
	if len(text[2]) != 2*j.extranonce2Len || len(text[3]) != 8 || len(text[4]) != 8 {
		return 0, "", fmt.Errorf("lengths of %q, of a job with %d bytes", *text, j.extranonce2Len)
	}
	coinbase, err := hex.DecodeString(j.coinb1 + j.extranonce1 + text[2] + j.coinb2)
	if err != nil {
		return 0, "", err
	}
	root := doubleHash(coinbase)
	for i := range p.config.Branches {
		root = doubleHash(append(root, j.branch(i)...))
	}
	nonce, err1 := strconv.ParseUint(text[4], 16, 32)
	when, err2 := strconv.ParseUint(text[3], 16, 32)
	rolled := uint64(0)
	var err3 error
	if text[5] != "" {
		rolled, err3 = strconv.ParseUint(text[5], 16, 32)
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		return 0, "", err
	}
	if when < ntime || when > ntime+ntimeRoom {
		return 0, "ntime out of range", fmt.Errorf("time %08x, of a job with %08x", when, ntime)
	}
	if uint32(rolled)&^j.mask != 0 {
		return 0, "", fmt.Errorf("version bits %08x outside the mask %08x", rolled, j.mask)
	}
	version := p.config.Version
	if text[5] != "" { // BIP310
		version = version&^j.mask | uint32(rolled)
	}
	header := binary.LittleEndian.AppendUint32(nil, version)
	header = append(header, prevHash(j.height)...)
	header = append(header, root...)
	header = binary.LittleEndian.AppendUint32(header, uint32(when))
	header = binary.LittleEndian.AppendUint32(header, bits)
	header = binary.LittleEndian.AppendUint32(header, uint32(nonce))
	h := doubleHash(header)

	switch p.config.Policy {
	case NextJob:
		judged = j.difficulty
	case AtOnce:
		judged = p.difficulty
	case Lenient:
		judged = min(j.difficulty, p.difficulty)
	}
	if _, twice := p.seen[string(h)]; twice {
		return judged, Duplicate, fmt.Errorf("duplicate of %x", h)
	}
	if !meets(h, judged) {
		return judged, LowDifficulty, fmt.Errorf("hash %x is above the target of difficulty %v", h, judged)
	}
	p.seen[string(h)] = p.height
	return judged, "", nil
}

func doubleHash(b []byte) []byte {
	h := sha256.Sum256(b)
	h = sha256.Sum256(h[:])
	return h[:]
}

// meets compares with big rationals: hash × difficulty <= 0xffff × 2^208.
func meets(h []byte, d float64) bool {
	reversed := make([]byte, len(h))
	for i, c := range h {
		reversed[len(h)-1-i] = c
	}
	product := new(big.Rat).SetInt(new(big.Int).SetBytes(reversed))
	product.Mul(product, new(big.Rat).SetFloat64(d))
	one := new(big.Int).Lsh(big.NewInt(0xffff), 208)
	return product.Cmp(new(big.Rat).SetInt(one)) <= 0
}
