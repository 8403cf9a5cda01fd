package work

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/ckpool/ckpool/difficulty"
)

// ParseTemplate reads the result object of getblocktemplate (BIP22, BIP23,
// BIP145). Members it does not know are skipped, a null is as good as a missing
// member, and of several members of one name the last counts.
//
// Transaction data stays where it is, as hex in body: body is kept until
// [Template.ShareTransactions] and must not be changed. Errors name the member that is
// missing or wrong, and the byte where the text is not JSON.
func ParseTemplate(body []byte) (*Template, error) {
	s, err := newScanner(body)
	if err != nil {
		return nil, err
	}
	f := s.fields()
	s.end()
	if s.err != nil {
		return nil, fmt.Errorf("block template: %w", s.err)
	}
	return f.template(s)
}

// Reply is a JSON-RPC reply to getblocktemplate.
type Reply struct {
	ID       string    // of the request, as it stands there; "" where there is none
	Template *Template // nil: the node answered with an error

	// of the error
	Code    int // 0 where the node gave none
	Message string
}

// ParseReply is [ParseTemplate] for a whole JSON-RPC reply. An error member
// that is not null is not an err. A reply whose template is wrong still has its
// id.
func ParseReply(body []byte) (r Reply, err error) {
	s, err := newScanner(body)
	if err != nil {
		return r, err
	}
	var f *fields
	var failed bool
	for more := s.open('{'); more; more = s.more('{') {
		switch string(s.key()) {
		case "result":
			if f = nil; !s.null() {
				f = s.fields()
			}
		case "error":
			r.Code, r.Message = 0, ""
			if failed = !s.null(); failed {
				r.Code, r.Message = s.rpcError()
			}
		case "id":
			s.peek()
			from := s.i
			s.skip()
			r.ID = string(body[from:s.i])
		default:
			s.skip()
		}
	}
	s.end()
	switch {
	case s.err != nil:
		return Reply{}, fmt.Errorf("reply with a block template: %w", s.err)
	case failed:
		return r, nil
	case f == nil:
		return Reply{}, errors.New("reply with a block template: neither result nor error in it")
	}
	r.Template, err = f.template(s)
	return r, err
}

func newScanner(body []byte) (*scanner, error) {
	const limit = math.MaxUint32 / 4 // keeps every span in 32 bits
	if len(body) > limit {
		return nil, fmt.Errorf("block template of %d bytes: more than %d are not read", len(body), limit)
	}
	return &scanner{body: body}, nil
}

// rpcError reads {"code":…,"message":…}; of anything else the text is the
// message.
func (s *scanner) rpcError() (code int, message string) {
	switch s.peek() {
	case '"':
		return 0, string(s.text())
	case '{':
	default:
		from := s.i
		s.skip()
		return 0, string(s.body[from:s.i])
	}
	for more := s.open('{'); more; more = s.more('{') {
		switch key := string(s.key()); {
		case key == "code":
			if n := s.integer(key, math.MinInt32, math.MaxInt32); n != nil {
				code = int(*n)
			}
		case key == "message" && s.peek() == '"':
			message = string(s.text())
		default:
			s.skip()
		}
	}
	return code, message
}

// fields are the members of a template as they are read, before any is judged.
type fields struct {
	version, curTime, minTime, height, value, vbRequired *int64

	weightLimit, sigopLimit *int64

	prevHash, bits, flags, commitment, longPollID, challenge *string

	rules []string // nil when missing
	txs   *transactions
	used  use
}

// use is what transactions take up of a block's weight units and sigops. Where a
// node did not tell it of one, it is as much as that one can have at most, and
// the sigops are not known.
type use struct {
	weight, sigops           int64
	weightKnown, sigopsKnown bool
}

func (s *scanner) fields() *fields {
	f := &fields{}
	for more := s.open('{'); more; more = s.more('{') {
		switch key := string(s.key()); key {
		case "version":
			// Bitcoin prints it signed.
			f.version = s.integer(key, math.MinInt32, math.MaxUint32)
		case "curtime":
			f.curTime = s.integer(key, 1, math.MaxUint32)
		case "mintime":
			f.minTime = s.integer(key, 0, math.MaxUint32)
		case "height":
			f.height = s.integer(key, 0, math.MaxInt32)
		case "coinbasevalue":
			f.value = s.integer(key, 0, maxMoney)
		case "vbrequired":
			f.vbRequired = s.integer(key, 0, math.MaxUint32)
		case "weightlimit":
			f.weightLimit = s.integer(key, 0, math.MaxInt32)
		case "sigoplimit":
			f.sigopLimit = s.integer(key, 0, math.MaxInt32)
		case "previousblockhash":
			f.prevHash = s.textOrNull()
		case "bits":
			f.bits = s.textOrNull()
		case "default_witness_commitment":
			f.commitment = s.textOrNull()
		case "longpollid":
			f.longPollID = s.textOrNull()
		case "signet_challenge":
			f.challenge = s.textOrNull()
		case "coinbaseaux":
			f.flags = s.flags()
		case "rules":
			f.rules = s.rules()
		case "transactions":
			f.txs, f.used = s.transactions()
		default:
			s.skip()
		}
	}
	return f
}

// maxMoney is all the satoshis there can be.
const maxMoney = 21_000_000 * 100_000_000

// textOrNull reads a string; a null is nil, as is a member that is missing.
func (s *scanner) textOrNull() *string {
	if s.null() {
		return nil
	}
	return new(string(s.text()))
}

func (s *scanner) flags() (flags *string) {
	if s.null() {
		return nil
	}
	for more := s.open('{'); more; more = s.more('{') {
		if key := s.key(); string(key) != "flags" {
			s.skip()
		} else {
			flags = s.textOrNull()
		}
	}
	return flags
}

func (s *scanner) rules() []string {
	if s.null() {
		return nil
	}
	rules := []string{}
	for more := s.open('['); more; more = s.more('[') {
		rules = append(rules, string(s.text()))
	}
	return rules
}

// template judges what was read.
func (f *fields) template(s *scanner) (*Template, error) {
	t, err := f.build(s)
	if err != nil {
		return nil, fmt.Errorf("block template: %w", err)
	}
	return t, nil
}

func (f *fields) build(s *scanner) (*Template, error) {
	if err := f.checkChain(); err != nil {
		return nil, err
	}
	if err := f.checkPresent(); err != nil {
		return nil, err
	}
	t := &Template{
		Height:        *f.height,
		Version:       uint32(*f.version),
		CurTime:       uint32(*f.curTime),
		MinTime:       uint32(*f.curTime),
		CoinbaseValue: *f.value,
		Rules:         f.rules,
	}
	if t.Version == 0 {
		return nil, errors.New("version is 0")
	}
	if f.minTime != nil {
		t.MinTime = uint32(*f.minTime)
		t.CurTime = max(t.CurTime, t.MinTime) // a node whose clock is behind
	}
	if f.vbRequired != nil {
		t.VBRequired = uint32(*f.vbRequired)
	}
	if f.longPollID != nil {
		t.LongPollID = *f.longPollID
	}
	if !decodeHash(&t.PrevHash, []byte(*f.prevHash)) || t.PrevHash == [32]byte{} {
		return nil, fmt.Errorf("previousblockhash %q is not the hash of a block", *f.prevHash)
	}
	if err := t.setBits(*f.bits); err != nil {
		return nil, err
	}
	if f.flags != nil {
		var err error
		if t.Flags, err = hex.DecodeString(*f.flags); err != nil {
			return nil, fmt.Errorf("coinbaseaux.flags %q is not hex", *f.flags)
		}
	}
	f.setCoinbaseRoom(t)
	f.txs.setBody(s)
	t.txs.Store(f.txs)
	return t, t.setCommitment(f.commitment)
}

// setCoinbaseRoom computes what the transactions leave for the coinbase: at least
// what a node leaves by default if it does not tell what they need.
func (f *fields) setCoinbaseRoom(t *Template) {
	weight, sigops := int64(maxWeight), int64(maxSigops)
	if f.weightLimit != nil {
		weight = *f.weightLimit
	}
	if f.sigopLimit != nil {
		sigops = *f.sigopLimit
	}
	weight -= headerWeight + f.used.weight
	if !f.used.weightKnown {
		weight = max(weight, reservedWeight-headerWeight)
	}
	sigops -= f.used.sigops
	if !f.used.sigopsKnown {
		sigops = reservedSigops
	}
	t.CoinbaseWeight, t.CoinbaseSigops = int(max(weight, 1)), int(max(sigops, 1))
}

// checkChain refuses what this package does not know how to mine.
func (f *fields) checkChain() error {
	for _, rule := range f.rules {
		if strings.HasPrefix(rule, "!") && rule != "!segwit" && rule != "!signet" {
			return fmt.Errorf("Required rule not understood: %s", rule) //nolint:staticcheck // operators look for this phrase
		}
	}
	if f.rules != nil && !slices.Contains(f.rules, "segwit") && !slices.Contains(f.rules, "!segwit") {
		return errors.New("segwit is not among the rules: a chain without it is not mined")
	}
	if f.challenge != nil && *f.challenge != "51" {
		return errors.New("this signet wants signed blocks: only a signet with challenge 51 can be mined by a pool")
	}
	return nil
}

func (f *fields) checkPresent() error {
	var missing []string
	for _, member := range []struct {
		name    string
		missing bool
	}{
		{"previousblockhash", f.prevHash == nil},
		{"version", f.version == nil},
		{"curtime", f.curTime == nil},
		{"bits", f.bits == nil},
		{"height", f.height == nil},
		{"coinbasevalue", f.value == nil},
		{"transactions", f.txs == nil},
	} {
		if member.missing {
			missing = append(missing, member.name)
		}
	}
	if missing != nil {
		return fmt.Errorf("%s missing", strings.Join(missing, ", "))
	}
	return nil
}

func (t *Template) setBits(text string) error {
	bits, err := strconv.ParseUint(text, 16, 32)
	if err != nil || len(text) != 8 {
		return fmt.Errorf("bits %q are not 8 hex digits", text)
	}
	t.Bits = uint32(bits)
	t.Target, err = difficulty.TargetFromBits(t.Bits)
	if err != nil {
		return fmt.Errorf("bits %s: %w", text, err)
	}
	return nil
}

// setCommitment takes the node's commitment where it gives one: on the way to
// miners nothing is gained by computing again, for thousands of transactions,
// what the node has just computed from the same ones. CheckWitness does that
// afterwards. Without one it is computed if a transaction has a witness, since
// such a block is invalid without.
func (t *Template) setCommitment(text *string) error {
	if text == nil {
		return t.computeCommitment()
	}
	script, err := hex.DecodeString(*text)
	if len(script) == 32 { // btcd gives the bare hash
		script = commitmentScript([32]byte(script))
	}
	if err != nil || !isCommitment(script) {
		return fmt.Errorf("default_witness_commitment %q is neither the script of a commitment output nor a hash", *text)
	}
	t.HasCommitment = true
	t.DefaultCommitment = script
	return nil
}
