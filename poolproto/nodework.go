package poolproto

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/work"
)

// Tags of what is said to nodes. In the dialect of [Frame] each is a kind of its own.
const (
	TagWorkInfo     = "workinfo"     // a WorkInfo
	TagTransactions = "transactions" // what AppendTransactions writes
	TagBlock        = "block"        // a Block
	TagRequest      = "reqtxns"      // a node of ckpool in C does not say it
)

// AppendNodeLine writes a message for a node, one of the JSON objects below, as a line of the
// dialect of ckpool in C.
func AppendNodeLine(b, message []byte, tag string) []byte {
	b = append(b, message[:len(message)-1]...)
	return append(append(append(b, `,"node.method":"`...), tag...), "\"}\n"...)
}

// WorkInfo is the work of a pool as nodes get it, which need it to make blocks of what
// miners find.
type WorkInfo struct {
	JobID                          uint64            // miners have it in hex, and may have two more digits behind that
	Target                         difficulty.Target // of the block
	Version                        uint32            // of the header
	CurTime                        uint32            // unix seconds
	PrevHash                       [32]byte          // internal order
	Bits                           uint32            // compact target
	Value                          int64             // of the coinbase, in satoshis
	Height                         int64             // of the block
	Flags                          string            // coinbaseaux, as the node gave it: hex
	TxIDs                          [][32]byte        // in the order of the block, without the coinbase
	Branch                         [][32]byte        // merkle branch, lowest level first, internal order
	Coinb1                         []byte            // nil in the reduced form, which cannot be mined on
	Coinb2                         []byte            // what is behind the extranonces
	Extranonce1Len, Extranonce2Len int               // in bytes
}

// Append writes the message, without LF.
func (w *WorkInfo) Append(b []byte) []byte {
	b = slices.Grow(b, 1024+65*len(w.TxIDs)+67*len(w.Branch)+2*len(w.Coinb1)+2*len(w.Coinb2))
	b = strconv.AppendUint(append(b, `{"jobid":`...), w.JobID, 10)
	b = hex.AppendEncode(append(b, `,"target":"`...), w.Target[:])
	b = appendReal(append(b, `","diff":`...), w.Target.Difficulty())
	b = strconv.AppendUint(append(b, `,"version":`...), uint64(w.Version), 10)
	b = strconv.AppendUint(append(b, `,"curtime":`...), uint64(w.CurTime), 10)
	prev := swapped(w.PrevHash)
	b = hex.AppendEncode(append(b, `,"prevhash":"`...), prev[:])
	b = fmt.Appendf(b, `","ntime":"%08x","bbversion":"%08x","nbit":"%08x"`, w.CurTime, w.Version, w.Bits)
	b = fmt.Appendf(b, `,"coinbasevalue":%d,"height":%d`, w.Value, w.Height)
	b = stratum.AppendString(append(b, `,"flags":`...), w.Flags)
	b = fmt.Appendf(b, `,"txns":%d,"txn_hashes":"`, len(w.TxIDs))
	for i := range w.TxIDs {
		b = append(work.AppendHash(b, w.TxIDs[i]), ' ')
	}
	b = fmt.Appendf(b, `","merkles":%d,"merklehash":[`, len(w.Branch))
	for i := range w.Branch {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(hex.AppendEncode(append(b, '"'), w.Branch[i][:]), '"')
	}
	b = append(hex.AppendEncode(append(b, `],"coinb1":"`...), w.Coinb1), '"')
	b = fmt.Appendf(b, `,"enonce1varlen":%d,"enonce2varlen":%d,"coinb1len":%d,"coinb2len":%d,"coinb2":"`,
		w.Extranonce1Len, w.Extranonce2Len, len(w.Coinb1), len(w.Coinb2))
	return append(hex.AppendEncode(b, w.Coinb2), `"}`...)
}

// errField is what is wrong with a member of a message.
func errField(message, key string) error { return fmt.Errorf("%s: unusable %q", message, key) }

// Parse reads the message, its tag aside. What it names and does not know it passes over.
func (w *WorkInfo) Parse(message []byte) error {
	*w = WorkInfo{}
	f, err := newFields(TagWorkInfo, message)
	if err != nil {
		return err
	}
	txns, known := int64(-1), false
	for key, value, ok := f.Next(); ok && f.err == nil; key, value, ok = f.Next() {
		switch f.key = string(key); f.key {
		case "jobid":
			w.JobID, known = f.number(value, 1<<63-1), true
		case "target":
			f.fixed(w.Target[:], value)
		case "version": // in the reduced form it is hex
			if len(value) > 0 && value[0] == '"' {
				w.Version = f.word(value)
			}
		case "bbversion":
			w.Version = f.word(value)
		case "curtime":
			w.CurTime = uint32(f.number(value, 1<<32-1))
		case "prevhash":
			f.fixed(w.PrevHash[:], value)
			w.PrevHash = swapped(w.PrevHash)
		case "nbit", "bits":
			w.Bits = f.word(value)
		case "ntime":
			w.CurTime = f.word(value)
		case "coinbasevalue", "reward":
			w.Value = int64(f.number(value, 1<<63-1))
		case "height":
			w.Height = int64(f.number(value, 1<<63-1))
		case "flags":
			w.Flags = string(f.text(value))
		case "txns":
			txns = int64(f.number(value, 1<<31-1))
		case "txn_hashes":
			w.TxIDs = f.txids(value)
		case "merklehash":
			f.each(value, func(raw []byte) {
				var hash [32]byte
				f.fixed(hash[:], raw)
				w.Branch = append(w.Branch, hash)
			})
		case "coinb1":
			w.Coinb1 = f.bytes(value)
		case "coinb2":
			w.Coinb2 = f.bytes(value)
		case "enonce1varlen":
			w.Extranonce1Len = int(f.number(value, 16))
		case "enonce2varlen":
			w.Extranonce2Len = int(f.number(value, 16))
		}
	}
	switch {
	case f.err != nil:
		return f.err
	case !known:
		return errField(TagWorkInfo, "jobid")
	case txns >= 0 && txns != int64(len(w.TxIDs)):
		return fmt.Errorf("workinfo: %d hashes of %d transactions", len(w.TxIDs), txns)
	}
	return nil
}

// NamedTransaction is a transaction with the hash that it is announced by, which is over its
// witness too.
type NamedTransaction struct {
	Hash [32]byte // wtxid, in internal order
	Data []byte   // as it stands in a block
}

// AppendTransactions writes a message with transactions that were asked for, without LF.
func AppendTransactions(b []byte, list []NamedTransaction) []byte {
	b = append(b, `{"transaction":[`...)
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = work.AppendHash(append(b, `{"hash":"`...), list[i].Hash)
		b = hex.AppendEncode(append(b, `","data":"`...), list[i].Data)
		b = append(b, `"}`...)
	}
	return append(b, "]}"...)
}

// ParseTransactions reads the message, its tag aside. It does not look into transactions.
func ParseTransactions(message []byte) (list []NamedTransaction, err error) {
	f, err := newFields(TagTransactions, message)
	if err != nil {
		return nil, err
	}
	for key, value, ok := f.Next(); ok; key, value, ok = f.Next() {
		if string(key) != "transaction" {
			continue
		}
		f.each(value, func(raw []byte) {
			var t NamedTransaction
			hashed := false
			members, ok := stratum.ParseMembers(raw)
			for key, value, more := members.Next(); more; key, value, more = members.Next() {
				switch f.key = string(key); f.key {
				case "hash":
					t.Hash, hashed = f.hash(value), true
				case "data":
					t.Data = f.bytes(value)
				}
			}
			if !ok || !hashed || len(t.Data) == 0 {
				f.key = "transaction"
				f.fail()
			}
			list = append(list, t)
		})
	}
	return list, f.err
}

// AppendRequest writes a message that asks for transactions by their txids, without LF.
// With none it asks for the present work again.
func AppendRequest(b []byte, txids [][32]byte) []byte {
	b = append(b, `{"hash":[`...)
	for i := range txids {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(work.AppendHash(append(b, '"'), txids[i]), '"')
	}
	return append(b, "]}"...)
}

// ParseRequest reads the message, its tag aside.
func ParseRequest(message []byte) (txids [][32]byte, err error) {
	f, err := newFields(TagRequest, message)
	if err != nil {
		return nil, err
	}
	for key, value, ok := f.Next(); ok; key, value, ok = f.Next() {
		if f.key = string(key); f.key == "hash" {
			f.each(value, func(raw []byte) { txids = append(txids, f.hash(raw)) })
		}
	}
	return txids, f.err
}

// Block is a solved block, whose transactions are those of a WorkInfo.
type Block struct {
	Extranonce1, Extranonce2 []byte  // the whole of both
	Nonce, NTime             uint32  // of the header
	VersionMask              uint32  // bits that are set in the version, beside those of the work
	JobID                    uint64  // of the WorkInfo
	Difficulty               float64 // of its hash
	Name                     string  // of the instance whose miner found it
	// Coinbase is the whole transaction without witness, nil from ckpool in C before
	// December 2016. Header is as it goes into the block, where Coinbase is known.
	Coinbase []byte
	Header   [80]byte
}

// Append writes the message, without LF.
func (k *Block) Append(b []byte) []byte {
	b = hex.AppendEncode(append(b, `{"enonce1":"`...), k.Extranonce1)
	b = fmt.Appendf(b, `","nonce":"%08x"`, k.Nonce)
	b = hex.AppendEncode(append(b, `,"nonce2":"`...), k.Extranonce2)
	b = fmt.Appendf(b, `","ntime32":%d,"version_mask":%d,"jobid":%d,"diff":`, k.NTime, k.VersionMask, k.JobID)
	b = stratum.AppendString(append(appendReal(b, k.Difficulty), `,"name":`...), k.Name)
	if k.Coinbase != nil {
		b = fmt.Appendf(b, `,"cblen":%d`, len(k.Coinbase))
		b = hex.AppendEncode(append(b, `,"coinbasehex":"`...), k.Coinbase)
		b = append(hex.AppendEncode(append(b, `","swaphex":"`...), k.Header[:]), '"')
	}
	return append(b, '}')
}

// Parse reads the message, its tag aside.
func (k *Block) Parse(message []byte) error {
	*k = Block{}
	f, err := newFields(TagBlock, message)
	if err != nil {
		return err
	}
	known, header := false, false
	for key, value, ok := f.Next(); ok && f.err == nil; key, value, ok = f.Next() {
		switch f.key = string(key); f.key {
		case "enonce1":
			k.Extranonce1 = f.bytes(value)
		case "nonce2":
			k.Extranonce2 = f.bytes(value)
		case "nonce":
			k.Nonce = f.word(value)
		case "ntime32":
			k.NTime = uint32(f.number(value, 1<<32-1))
		case "version_mask":
			k.VersionMask = uint32(f.number(value, 1<<32-1))
		case "jobid":
			k.JobID, known = f.number(value, 1<<63-1), true
		case "workinfoid": // of a trusted remote
			if !known {
				k.JobID, known = f.number(value, 1<<63-1), true
			}
		case "diff":
			if k.Difficulty, ok = stratum.Number(value); !ok {
				f.fail()
			}
		case "name":
			k.Name = string(f.text(value))
		case "coinbasehex":
			k.Coinbase = f.bytes(value)
		case "swaphex":
			f.fixed(k.Header[:], value)
			header = true
		}
	}
	switch {
	case f.err != nil:
		return f.err
	case !known:
		return errField(TagBlock, "jobid")
	case header != (k.Coinbase != nil):
		return errors.New("block: a header without a coinbase, or the other way round")
	}
	return nil
}

// fields are the members of a message that is being read.
type fields struct {
	stratum.Members
	message string // its tag
	key     string // of the member that is looked at
	err     error  // the first
}

func newFields(tag string, message []byte) (*fields, error) {
	members, ok := object(message)
	if !ok {
		return nil, fmt.Errorf("%s: %w", tag, ErrNotObject)
	}
	return &fields{Members: members, message: tag}, nil
}

func (f *fields) fail() {
	if f.err == nil {
		f.err = errField(f.message, f.key)
	}
}

func (f *fields) text(raw []byte) []byte {
	text, ok := stratum.String(raw, nil)
	if !ok {
		f.fail()
	}
	return text
}

func (f *fields) number(raw []byte, most uint64) uint64 {
	n, err := strconv.ParseUint(string(raw), 10, 64)
	if err != nil || n > most {
		f.fail()
	}
	return n
}

func (f *fields) bytes(raw []byte) []byte {
	b, err := hex.AppendDecode([]byte{}, f.text(raw))
	if err != nil {
		f.fail()
	}
	return b
}

// fixed reads the hex of as many bytes as dst has.
func (f *fields) fixed(dst, raw []byte) {
	text := f.text(raw)
	if len(text) != hex.EncodedLen(len(dst)) {
		f.fail()
		return
	}
	if _, err := hex.Decode(dst, text); err != nil {
		f.fail()
	}
}

// word reads eight hex digits.
func (f *fields) word(raw []byte) uint32 {
	var b [4]byte
	f.fixed(b[:], raw)
	return binary.BigEndian.Uint32(b[:])
}

// hash reads one as people have it.
func (f *fields) hash(raw []byte) [32]byte {
	hash, err := work.ParseHash(string(f.text(raw)))
	if err != nil {
		f.fail()
	}
	return hash
}

// txids reads hashes with a space behind each.
func (f *fields) txids(raw []byte) [][32]byte {
	const size = 64 + 1
	text := f.text(raw)
	if len(text)%size != 0 {
		f.fail()
		return nil
	}
	list := make([][32]byte, 0, len(text)/size)
	for ; len(text) > 0; text = text[size:] {
		hash, err := work.ParseHash(string(text[:size-1]))
		if err != nil || text[size-1] != ' ' {
			f.fail()
			return nil
		}
		list = append(list, hash)
	}
	return list
}

// each calls do with the elements of an array, until one is unusable.
func (f *fields) each(raw []byte, do func(raw []byte)) {
	list, ok := stratum.ParseParams(raw)
	if !ok {
		f.fail()
	}
	for value, ok := list.Next(); ok && f.err == nil; value, ok = list.Next() {
		do(value)
	}
}

// swapped is a hash with the words as in mining.notify, and back.
func swapped(hash [32]byte) (h [32]byte) {
	for i := range hash {
		h[i] = hash[i/4*4+3-i%4]
	}
	return h
}

// appendReal writes a number that ckpool in C takes for a real one, as that does.
func appendReal(b []byte, x float64) []byte {
	text := strconv.AppendFloat(nil, x, 'g', 17, 64)
	mantissa, exponent, found := bytes.Cut(text, []byte("e"))
	b = append(b, mantissa...)
	if found {
		n, _ := strconv.Atoi(string(exponent)) // it was written here
		return strconv.AppendInt(append(b, 'e'), int64(n), 10)
	}
	if !bytes.Contains(mantissa, []byte(".")) {
		b = append(b, ".0"...)
	}
	return b
}
