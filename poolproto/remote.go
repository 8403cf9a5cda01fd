package poolproto

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// RemoteJournal is what a trusted remote says of its journal, before anything else.
type RemoteJournal struct {
	Instance string `json:"instance"`       // what tells the journal from others: 32 hex digits
	Name     string `json:"name"`           // of the pool's instance
	Network  string `json:"network"`        // chain, as Bitcoin Core names it
	Time     int64  `json:"time,omitempty"` // of its clock, unix seconds; 0: it does not say
}

// Append writes it as the text of a Journal.
func (j *RemoteJournal) Append(b []byte) []byte { return appendJSON(b, j) }

// maxName is how long the name of an instance may be, in bytes.
const maxName = 64

// Parse reads what Append writes. The error says which member cannot be.
func (j *RemoteJournal) Parse(text []byte) error {
	*j = RemoteJournal{}
	if err := json.Unmarshal(text, j); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	id, err := hex.DecodeString(j.Instance)
	switch {
	case err != nil || len(id) != 16 || strings.ToLower(j.Instance) != j.Instance:
		return errors.New("journal: its instance is not 32 hex digits")
	case j.Name == "" || len(j.Name) > maxName || strings.ContainsAny(j.Name, "/\x00") || j.Name[0] == '.':
		return fmt.Errorf("journal: unusable name %.80q", j.Name)
	case j.Network == "" || len(j.Network) > maxName:
		return fmt.Errorf("journal: unusable network %.80q", j.Network)
	}
	return nil
}

// RemotePlace is up to where a main pool has the journal of a remote. The zero value is
// for nothing of it.
type RemotePlace struct {
	Segment string `json:"segment,omitempty"` // name of the last file
	Mark    string `json:"mark,omitempty"`    // of that file
	Size    int64  `json:"size,omitempty"`    // bytes of it
	Refused string `json:"refused,omitempty"` // why nothing of it is taken
}

// Append writes it as the text of a Journal.
func (p *RemotePlace) Append(b []byte) []byte { return appendJSON(b, p) }

// Parse reads what Append writes. The error says which member cannot be.
func (p *RemotePlace) Parse(text []byte) error {
	*p = RemotePlace{}
	if err := json.Unmarshal(text, p); err != nil {
		return fmt.Errorf("place in a journal: %w", err)
	}
	if p.Size < 0 {
		return fmt.Errorf("place in a journal: %d bytes", p.Size)
	}
	return nil
}

// AppendBytes writes bytes of a file, with its name, as the text of a Bytes: in base64.
func AppendBytes(b []byte, file string, data []byte) []byte {
	return base64.RawStdEncoding.AppendEncode(append(append(b, file...), ' '), data)
}

// ParseBytes reads what AppendBytes writes: the name of the file, and the bytes.
func ParseBytes(text []byte) (file string, data []byte, err error) {
	name, encoded, ok := bytes.Cut(text, []byte(" "))
	if !ok {
		return "", nil, errors.New("bytes of a journal without a file")
	}
	data, err = base64.RawStdEncoding.AppendDecode(nil, encoded)
	if err != nil {
		return "", nil, fmt.Errorf("bytes of a journal: %w", err)
	}
	return string(name), data, nil
}

// WholeBlock is a block that was found at the other end, as nodes take it.
type WholeBlock struct {
	Height int64  `json:"height"` // in the chain
	Hash   string `json:"hash"`   // as nodes show it
	Worker string `json:"worker"` // that found it
	Name   string `json:"name"`   // of the instance that it was found at
	Block  Hex    `json:"block"`  // serialised
}

// Append writes it as the text of a Whole.
func (k *WholeBlock) Append(b []byte) []byte { return appendJSON(b, k) }

// leastBlock is shorter than any block: a header, and a count.
const leastBlock = 81

// Parse reads what Append writes. It looks at nothing in the block.
func (k *WholeBlock) Parse(text []byte) error {
	*k = WholeBlock{}
	if err := json.Unmarshal(text, k); err != nil {
		return fmt.Errorf("block: %w", err)
	}
	if hash, err := hex.DecodeString(k.Hash); err != nil || len(hash) != 32 || k.Height < 0 || len(k.Block) < leastBlock {
		return errors.New("block: no hash, height or bytes")
	}
	return nil
}

// Hex is bytes that are hex digits in JSON.
type Hex []byte

// MarshalText implements encoding.TextMarshaler.
func (h Hex) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hex) UnmarshalText(text []byte) (err error) {
	*h, err = hex.AppendDecode(nil, text)
	return err
}

// appendJSON writes what can always be written.
func appendJSON(b []byte, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return append(b, text...)
}
