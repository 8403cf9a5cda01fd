package work

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/ckpool/ckpool/difficulty"
)

// Versions of the records that a JobWriter writes: of jobs whose coinbase is given,
// and of all others. A JobReader reads them and every older one.
const (
	givenVersion  = 2
	recordVersion = 1
)

// A JobWriter writes jobs for another process, as records of one JSON object
// each. A job read from its record sends the same bytes to miners and computes
// the same shares and blocks as the one written, whatever settings the other
// process has. Transactions that jobs share are written once, with the first
// of them: records must be read in the order they were written. The zero value
// is ready to use.
type JobWriter struct {
	// WithoutTransactions leaves the transactions out: the job read computes the
	// same shares, and makes no blocks unless it has none.
	WithoutTransactions bool

	known map[transactionID]int
}

type transactionID struct{ txid, wtxid [32]byte }

// jobRecord is the form of a job. Hashes and scripts are hex in internal
// order, times unix nanoseconds.
type jobRecord struct {
	Version   int                 `json:"version"`
	ID        uint64              `json:"id"`
	Created   int64               `json:"created"`
	Solo      bool                `json:"solo,omitempty"`
	Sig       string              `json:"sig,omitempty"`
	JobBits   uint32              `json:"job_version"` // the header's version
	Mask      uint32              `json:"mask"`
	NTimeMin  uint32              `json:"ntime_min"`
	NTimeMax  uint32              `json:"ntime_max"`
	Key       hexBytes            `json:"key"` // of marks
	Branch    []hexHash           `json:"branch"`
	Coinbases []coinbaseRecord    `json:"coinbases"` // the smallest first
	Template  templateRecord      `json:"template"`
	New       []transactionRecord `json:"new_transactions,omitempty"`

	// Pad is how many bytes at the end of the head of the coinbase, the only one then,
	// are for variants; nil: it is not given.
	Pad *int `json:"pad,omitempty"`
}

type coinbaseRecord struct {
	Limit int      `json:"limit"` // the least it is for; the first is for every smaller one, too
	Head  hexBytes `json:"head"`
	Mid   hexBytes `json:"mid"`
	Tail  hexBytes `json:"tail"`
}

type templateRecord struct {
	Height        int64    `json:"height"`
	Version       uint32   `json:"version"`
	PrevHash      hexHash  `json:"prevhash"`
	Bits          uint32   `json:"bits"`
	CurTime       uint32   `json:"curtime"`
	MinTime       uint32   `json:"mintime"`
	CoinbaseValue int64    `json:"coinbasevalue"`
	Flags         hexBytes `json:"flags,omitempty"`
	Commitment    hexBytes `json:"commitment,omitempty"` // the node's
	Computed      hexBytes `json:"computed,omitempty"`   // ours where the node gave none
	VBRequired    uint32   `json:"vbrequired,omitempty"`
	Weight        int      `json:"coinbase_weight,omitempty"` // room for the coinbase
	Sigops        int      `json:"coinbase_sigops,omitempty"`
	LongPollID    string   `json:"longpollid,omitempty"`
	Rules         []string `json:"rules"`
	Transactions  []int    `json:"transactions"` // in the order they were first written; null: not known
}

type transactionRecord struct {
	TxID  hexHash  `json:"txid"`
	WTxID hexHash  `json:"wtxid"`
	Data  hexBytes `json:"data"`
}

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

type hexHash [32]byte

func (h hexHash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

func (h *hexHash) UnmarshalText(text []byte) error {
	if len(text) != 2*len(h) {
		return fmt.Errorf("hash of %d digits", len(text))
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// Append appends the record of a job. It has the coinbases that were made until
// now and those for all of CoinbaseLimit's limits. The job makes no others
// afterwards, so that here and there a limit gets the same one.
func (w *JobWriter) Append(b []byte, j *Job) ([]byte, error) {
	t := j.Template
	r := jobRecord{
		Version: recordVersion, ID: j.ID, Created: j.Created.UnixNano(), Solo: j.Solo, Sig: j.Sig,
		JobBits: j.Version, Mask: j.Mask, NTimeMin: j.NTimeMin, NTimeMax: j.NTimeMax,
		Key: j.key[:], Branch: make([]hexHash, len(j.Branch)),
		Template: templateRecord{
			Height: t.Height, Version: t.Version, PrevHash: t.PrevHash, Bits: t.Bits,
			CurTime: t.CurTime, MinTime: t.MinTime, CoinbaseValue: t.CoinbaseValue, Flags: t.Flags,
			Commitment: t.DefaultCommitment, Computed: t.computed,
			VBRequired: t.VBRequired, Weight: t.CoinbaseWeight, Sigops: t.CoinbaseSigops, LongPollID: t.LongPollID, Rules: t.Rules,
		},
	}
	for i := range j.Branch {
		r.Branch[i] = j.Branch[i]
	}
	if t.given != nil {
		r.Version, r.Pad = givenVersion, &t.given.Pad
	}
	j.Coinbase(limitUnknown)
	for _, known := range userAgents {
		j.Coinbase(known.limit)
	}
	for _, l := range j.seal() {
		c := l.Coinbase
		r.Coinbases = append(r.Coinbases, coinbaseRecord{max(l.from, 0), c.Head, c.Mid, c.Tail})
	}
	if t.HasTransactions() && !w.WithoutTransactions {
		w.transactions(&r, t.txs.Load())
	}
	record, err := json.Marshal(&r)
	if err != nil {
		return b, fmt.Errorf("record of a job: %w", err)
	}
	return append(b, record...), nil
}

func (w *JobWriter) transactions(r *jobRecord, txs *transactions) {
	if w.known == nil {
		w.known = map[transactionID]int{}
	}
	r.Template.Transactions = make([]int, txs.count())
	for i := range txs.count() {
		id := transactionID{txid: txs.txid(i)}
		// Where the node gave a hash that is none CheckWitness has told, and
		// nothing else asks for it.
		id.wtxid, _ = txs.wtxid(i)
		n, ok := w.known[id]
		if !ok {
			n = len(w.known)
			w.known[id] = n
			r.New = append(r.New, transactionRecord{id.txid, id.wtxid, txs.appendRaw(nil, i)})
		}
		r.Template.Transactions[i] = n
	}
}

// A JobReader reads what a JobWriter wrote. The zero value is ready to use.
type JobReader struct {
	known []*Transaction
}

// Read makes the job of a record. After an error the reader is of no more use.
func (r *JobReader) Read(record []byte) (*Job, error) {
	j, err := r.read(record)
	if err != nil {
		return nil, fmt.Errorf("record of a job: %w", err)
	}
	return j, nil
}

func (r *JobReader) read(record []byte) (*Job, error) {
	var version struct{ Version int }
	if err := json.Unmarshal(record, &version); err != nil {
		return nil, err
	}
	if version.Version < 1 || version.Version > givenVersion {
		return nil, fmt.Errorf("version %d, this program reads 1 to %d", version.Version, givenVersion)
	}
	var k jobRecord
	if err := json.Unmarshal(record, &k); err != nil {
		return nil, err
	}
	for _, tx := range k.New {
		r.known = append(r.known, &Transaction{tx.TxID, tx.WTxID, tx.Data})
	}
	t, err := r.template(&k.Template)
	if err != nil {
		return nil, err
	}
	j := &Job{
		ID: k.ID, Template: t, Version: k.JobBits, Mask: k.Mask, Target: t.Target,
		NetworkDifficulty: difficulty.FromBits(t.Bits), NTimeMin: k.NTimeMin, NTimeMax: k.NTimeMax,
		Created: time.Unix(0, k.Created), Sig: k.Sig, Solo: k.Solo, Branch: make([][32]byte, len(k.Branch)),
	}
	for i := range k.Branch {
		j.Branch[i] = k.Branch[i]
	}
	if copy(j.key[:], k.Key) != len(j.key) || len(k.Key) != len(j.key) {
		return nil, fmt.Errorf("key of %d bytes", len(k.Key))
	}
	if k.Template.Transactions == nil {
		t.branch = j.Branch
	}
	if k.Pad != nil {
		return j, j.setGivenCoinbase(&k)
	}
	return j, j.setCoinbases(&k)
}

func (r *JobReader) template(k *templateRecord) (*Template, error) {
	target, err := difficulty.TargetFromBits(k.Bits)
	if err != nil {
		return nil, fmt.Errorf("bits %08x: %w", k.Bits, err)
	}
	t := &Template{
		Height: k.Height, Version: k.Version, PrevHash: k.PrevHash, Bits: k.Bits, CurTime: k.CurTime, MinTime: k.MinTime,
		CoinbaseValue: k.CoinbaseValue, Flags: k.Flags, Target: target,
		HasCommitment: k.Commitment != nil, DefaultCommitment: k.Commitment, computed: k.Computed,
		VBRequired: k.VBRequired, CoinbaseWeight: k.Weight, CoinbaseSigops: k.Sigops, LongPollID: k.LongPollID, Rules: k.Rules,
	}
	txs := &transactions{shared: make([]*Transaction, len(k.Transactions))}
	for i, n := range k.Transactions {
		if n < 0 || n >= len(r.known) {
			return nil, fmt.Errorf("transaction %d of %d", n, len(r.known))
		}
		txs.shared[i] = r.known[n]
	}
	t.txs.Store(txs)
	return t, nil
}

// setCoinbases gives j those it had. All that has a builder's settings in it is
// there afterwards.
func (j *Job) setCoinbases(k *jobRecord) error {
	if len(k.Coinbases) == 0 {
		return errors.New("no coinbase")
	}
	const plausible = 1 << 20
	list := make([]limited, len(k.Coinbases))
	for i, c := range k.Coinbases {
		if len(c.Head)+len(c.Mid)+len(c.Tail) > plausible {
			return errors.New("a coinbase is larger than a block")
		}
		if len(c.Head) <= markLen || len(c.Head) > maxHead {
			return fmt.Errorf("a coinbase with %d bytes up to the extranonces", len(c.Head))
		}
		if c.Limit < 0 || i > 0 && c.Limit <= k.Coinbases[i-1].Limit {
			return fmt.Errorf("coinbase %d is for %d bytes", i, c.Limit)
		}
		list[i] = limited{from: c.Limit, Coinbase: &Coinbase{c.Head, c.Mid, c.Tail}}
	}
	list = sealed(list)
	j.coinbases.Store(&list)
	return nil
}

// setGivenCoinbase gives j the only coinbase it had.
func (j *Job) setGivenCoinbase(k *jobRecord) error {
	if len(k.Coinbases) != 1 || len(k.Coinbases[0].Tail) > 0 || len(k.New) > 0 || k.Solo {
		return fmt.Errorf("%d coinbases, one of them given", len(k.Coinbases))
	}
	c := &Coinbase{Head: k.Coinbases[0].Head, Mid: k.Coinbases[0].Mid}
	end := len(c.Head) - *k.Pad
	if end < 0 || end > len(c.Head) {
		return fmt.Errorf("%d bytes for variants at the end of %d", *k.Pad, len(c.Head))
	}
	j.Template.given = &GivenCoinbase{Head: c.Head[:end:end], Tail: c.Mid, Pad: *k.Pad}
	j.coinbases.Store(&[]limited{{math.MinInt, math.MaxInt, c}})
	return j.Template.given.check()
}
