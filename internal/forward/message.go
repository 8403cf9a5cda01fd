package forward

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/internal/wire"
)

// version of batches and questions that this program writes, and the newest it reads.
const version = 1

const (
	streamPrefix  = "ckpool_"
	subjectPrefix = "ckpool."
	batchSuffix   = ".batch"
	askSuffix     = ".ask"
)

// Names of an instance, and of all by "*".
func streamName(id string) string   { return streamPrefix + id }
func batchSubject(id string) string { return subjectPrefix + id + batchSuffix }
func askSubject(id string) string   { return subjectPrefix + id + askSuffix }

// instanceIn is the instance in a name between a prefix and a suffix.
func instanceIn(name, prefix, suffix string) (id [16]byte, ok bool) {
	text, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return id, false
	}
	if text, ok = strings.CutSuffix(text, suffix); !ok || len(text) != 2*len(id) {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(text))
	return id, err == nil
}

// message is a batch with all that is needed to store it.
type message struct {
	generation    uint64
	name, network string // of the instance
	batch         store.Batch
}

// laterError tells of what a later release has written.
type laterError struct {
	what    string
	version int
}

func (e *laterError) Error() string {
	return fmt.Sprintf("%s has version %d, this ckdb knows %d: update it", e.what, e.version, version)
}

// encode appends the message to b.
func (m *message) encode(b []byte) []byte {
	w := wire.Append(b)
	w.Versioned(version, m.fields)
	return w.Written()
}

// decode reads a message, which aliases data.
func (m *message) decode(data []byte) error {
	if len(data) > 0 && data[0] > version {
		return &laterError{"a batch", int(data[0])}
	}
	w := wire.Read(data)
	w.Versioned(version, m.fields)
	return w.Done()
}

func (m *message) fields(w *wire.Codec) {
	b := &m.batch
	wire.Word(w, &m.generation)
	w.Text(&m.name)
	w.Text(&m.network)
	w.Array(b.Instance[:])
	positionFields(&b.From, w)
	positionFields(&b.To, w)
	wire.Int(w, &b.At)
	wire.List(w, &b.Workers, func(v *store.Worker, w *wire.Codec) {
		w.Text((*string)(&v.Kind))
		w.Text(&v.Account)
		w.Text(&v.Name)
	})
	wire.List(w, &b.Agents, func(v *string, w *wire.Codec) { w.Text(v) })
	wire.List(w, &b.Jobs, jobFields)
	wire.List(w, &b.Shares, shareFields)
	wire.List(w, &b.Rejects, func(v *store.Reject, w *wire.Codec) {
		wire.Int(w, &v.Received)
		wire.Int(w, &v.Worker, &v.Agent)
		wire.Word(w, &v.Job)
		wire.Uint(w, &v.Reason)
		exact(w, &v.Difficulty)
		aboveFields(&v.Above, w)
	})
	wire.List(w, &b.Seen, func(v *store.Seen, w *wire.Codec) {
		wire.Int(w, &v.Worker)
		wire.Int(w, &v.At)
	})
	wire.List(w, &b.Blocks, func(v *store.Block, w *wire.Codec) {
		w.Array(v.Hash[:])
		wire.Int(w, &v.Height, &v.Reward, &v.Found)
		wire.Word(w, &v.Job)
		wire.Int(w, &v.Worker)
		exact(w, &v.Difficulty)
	})
	wire.List(w, &b.Changes, func(v *store.BlockChange, w *wire.Codec) {
		w.Array(v.Hash[:])
		wire.Int(w, &v.At, &v.Confirmations)
		w.Text(&v.State)
		w.Text(&v.Note)
	})
	wire.List(w, &b.Minutes, func(v *store.Minute, w *wire.Codec) {
		wire.Int(w, &v.At, &v.Users, &v.Workers)
		exact(w, &v.Rate1m)
		exact(w, &v.Rate5m)
		exact(w, &v.Rate1h)
		exact(w, &v.Rate24h)
	})
	wire.List(w, &b.Gaps, func(v *store.Gap, w *wire.Codec) {
		wire.Int(w, &v.Epoch, &v.First, &v.Last, &v.Seen)
		w.Text(&v.Cause)
	})
}

func positionFields(p *store.Position, w *wire.Codec) {
	wire.Int(w, &p.Epoch, &p.Number)
	w.Text(&p.Life)
}

func jobFields(v *store.Job, w *wire.Codec) {
	wire.Int(w, &v.Number, &v.Height, &v.Reward, &v.Created)
	wire.Word(w, &v.ID)
	w.Array(v.PrevHash[:])
	wire.Uint(w, &v.Bits, &v.Version, &v.NTime)
	exact(w, &v.Difficulty)
	w.Bytes(&v.Record)
}

func shareFields(v *store.Share, w *wire.Codec) {
	wire.Int(w, &v.Number, &v.Received)
	wire.Uint(w, &v.NTime)
	w.Array(v.Hash[:])
	wire.Int(w, &v.Worker, &v.Agent)
	wire.Uint(w, &v.Scheme)
	wire.Word(w, &v.Job)
	exact(w, &v.Credit)
	exact(w, &v.Achieved)
	aboveFields(&v.Above, w)
}

// aboveFields are one byte for the many that went up nowhere.
func aboveFields(v *store.Above, w *wire.Codec) {
	wire.Uint(w, &v.Verdict)
	if v.Verdict != store.NotSent {
		exact(w, &v.Difficulty)
	}
}

// exact passes an amount as 16 bytes.
func exact(w *wire.Codec, x *difficulty.Exact) {
	var b [16]byte
	if !w.Reading() {
		_, _ = x.AppendBinary(b[:0]) // never fails
	}
	w.Array(b[:])
	if w.Reading() {
		_ = x.UnmarshalBinary(b[:]) // of 16 bytes never fails
	}
}

// question is what a forwarder asks: where is the database? It also tells how the
// forwarder does.
type question struct {
	Version int    `json:"version"`
	Name    string `json:"name"`
	Network string `json:"network"`
	// Begin: the database itself is to be asked, not who last wrote to it. Epochs are
	// those of the journal then, if it is to be read from where the answer says.
	Begin  bool          `json:"begin,omitempty"`
	Epochs []store.Epoch `json:"epochs,omitempty"`
	// Behind are shares in the journal that the database has not, and Since the time
	// of the first record of them, microseconds since 1970.
	Behind uint64 `json:"behind"`
	Since  int64  `json:"since"`
}

// answer is where the database is.
type answer struct {
	Version int `json:"version"`
	place
	// Replaced is where it had come in records that the journal has no more.
	Replaced *place `json:"replaced,omitempty"`
	// Hole is the generation of the last batch before which others are missing.
	Hole uint64 `json:"hole,omitempty"`
	// Refused is why nothing of the instance is stored; Network: it is of another one.
	Refused string `json:"refused,omitempty"`
	Network bool   `json:"other_network,omitempty"`
}

// place is a position in JSON.
type place struct {
	Epoch  int64  `json:"epoch"`
	Number int64  `json:"number"`
	Life   string `json:"life"`
}

func (p *place) position() store.Position {
	return store.Position{Epoch: p.Epoch, Number: p.Number, Life: p.Life}
}

func placeOf(p store.Position) place { return place{p.Epoch, p.Number, p.Life} }

// readJSON reads a question or an answer, whose version is told apart first.
func readJSON(data []byte, what string, v any) error {
	var k struct{ Version int }
	if err := json.Unmarshal(data, &k); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if k.Version > version {
		return &laterError{what, k.Version}
	}
	if k.Version < 1 {
		return errors.New(what + " has no version")
	}
	return json.Unmarshal(data, v)
}
