// Package psbt reads partially signed transactions of version 0 (BIP174) and version 2
// (BIP370): which transaction is to be signed, what its inputs are said to be worth, and
// what final signatures are in it. It signs nothing, changes nothing and asks nobody.
package psbt

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/internal/figures"
)

// MaxSize is the longest packet read, in bytes. A standard transaction has 100 kB, and
// the transactions its inputs come from may each be as long.
const MaxSize = 8 << 20

// Packet is a partially signed transaction.
type Packet struct {
	Version uint32
	Tx      *wire.MsgTx // unsigned: without scripts and witnesses of inputs
	Inputs  []Input     // in the order of the inputs of Tx
}

// Input is what a packet says of one input.
type Input struct {
	Previous *wire.MsgTx // the transaction it spends from; its txid was compared; nil: not given
	Output   *wire.TxOut // the output it spends; nil: not given
	Sighash  uint32      // what the signer is asked to sign; 0: not given

	FinalScript  []byte         // nil: none
	FinalWitness wire.TxWitness // nil: none
}

// Fields by their numbers in BIP174 and BIP370.
const (
	globalTx          = 0x00
	globalTxVersion   = 0x02
	globalLockTime    = 0x03
	globalInputs      = 0x04
	globalOutputs     = 0x05
	globalVersion     = 0xfb
	inputPrevious     = 0x00
	inputOutput       = 0x01
	inputSighash      = 0x03
	inputFinalScript  = 0x07
	inputFinalWitness = 0x08
	inputTxid         = 0x0e
	inputIndex        = 0x0f
	inputSequence     = 0x10
	inputTimeLock     = 0x11
	inputHeightLock   = 0x12
	outputAmount      = 0x03
	outputScript      = 0x04
)

// keys tells which types of a map have keys that are the type alone, and which have a
// public key behind it. Others are of no use here.
type keys struct{ alone, pubkey string }

var (
	globalKeys = keys{alone: "\x00\x02\x03\x04\x05\x06\xfb"}
	inputKeys  = keys{alone: "\x00\x01\x03\x04\x05\x07\x08\x09\x0e\x0f\x10\x11\x12\x13\x17\x18", pubkey: "\x02\x06"}
	outputKeys = keys{alone: "\x00\x01\x03\x04\x05\x06", pubkey: "\x02"}
)

func (k *keys) check(key []byte) error {
	ok := true
	switch {
	case strings.IndexByte(k.alone, key[0]) >= 0:
		ok = len(key) == 1
	case strings.IndexByte(k.pubkey, key[0]) >= 0:
		ok = len(key) == 1+33 || len(key) == 1+65
	}
	if !ok {
		return fmt.Errorf("key %x is not of the length that its type has", key)
	}
	return nil
}

const magic = "psbt\xff"

// smallestMap is the end of a map, which every input and output has.
const smallestMap = 1

// Decode reads a packet in base64, as nodes give it and files have it, or in binary.
func Decode(text []byte) (*Packet, error) {
	if len(text) > MaxSize*4/3+4 {
		return nil, fmt.Errorf("PSBT: %d bytes are too long", len(text))
	}
	if bytes.HasPrefix(text, []byte(magic)) {
		return parse(text)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, errors.New("PSBT: neither base64 nor binary: is the file whole?")
	}
	return parse(raw)
}

func parse(raw []byte) (*Packet, error) {
	p, err := parsePacket(raw)
	if err != nil {
		return nil, fmt.Errorf("PSBT: %w", err)
	}
	return p, nil
}

// fields of a map whose keys are a type alone. Keys with more in them are of no use here.
type fields map[byte][]byte

func parsePacket(raw []byte) (*Packet, error) {
	if len(raw) > MaxSize {
		return nil, fmt.Errorf("%d bytes are too long", len(raw))
	}
	rest, ok := bytes.CutPrefix(raw, []byte(magic))
	if !ok {
		return nil, errors.New("it does not begin as one")
	}
	r := bytes.NewReader(rest)
	global, err := readMap(r, &globalKeys)
	if err != nil {
		return nil, fmt.Errorf("global map: %w", err)
	}
	p := new(Packet)
	if p.Version, err = global.uint32(globalVersion, 0); err != nil {
		return nil, err
	}
	var inputs, outputs int
	switch p.Version {
	case 0:
		inputs, outputs, err = p.begin0(global)
	case 2:
		inputs, outputs, err = p.begin2(global, r.Len())
	default:
		err = fmt.Errorf("version %d is not known, only 0 and 2", p.Version)
	}
	if err != nil {
		return nil, err
	}
	for i := range inputs {
		if err := p.readInput(r, i); err != nil {
			return nil, fmt.Errorf("input %d: %w", i, err)
		}
	}
	for i := range outputs {
		if err := p.readOutput(r); err != nil {
			return nil, fmt.Errorf("output %d: %w", i, err)
		}
	}
	if r.Len() != 0 {
		return nil, fmt.Errorf("%s follow its end", figures.Things(int64(r.Len()), "byte"))
	}
	return p, nil
}

func (p *Packet) begin0(global fields) (inputs, outputs int, err error) {
	raw, ok := global[globalTx]
	if !ok {
		return 0, 0, errors.New("version 0 without a transaction")
	}
	p.Tx = new(wire.MsgTx)
	r := bytes.NewReader(raw)
	if err := p.Tx.DeserializeNoWitness(r); err != nil {
		return 0, 0, fmt.Errorf("its transaction: %w", err)
	}
	if r.Len() != 0 {
		return 0, 0, errors.New("its transaction has bytes after its end")
	}
	for i, in := range p.Tx.TxIn {
		if len(in.SignatureScript) != 0 {
			return 0, 0, fmt.Errorf("its transaction has a signature in input %d", i)
		}
	}
	return len(p.Tx.TxIn), len(p.Tx.TxOut), nil
}

func (p *Packet) begin2(global fields, left int) (inputs, outputs int, err error) {
	if _, ok := global[globalTx]; ok {
		return 0, 0, errors.New("version 2 with a transaction of version 0")
	}
	version, err := global.uint32(globalTxVersion, 0)
	if err != nil {
		return 0, 0, err
	}
	lock, err := global.uint32(globalLockTime, 0)
	if err != nil {
		return 0, 0, err
	}
	var counts [2]uint64
	for i, key := range []byte{globalInputs, globalOutputs} {
		r := bytes.NewReader(global[key])
		n, err := wire.ReadVarInt(r, 0)
		if err != nil || r.Len() != 0 || n > uint64(left)/smallestMap {
			return 0, 0, errors.New("the numbers of its inputs and outputs are not there or cannot be")
		}
		counts[i] = n
	}
	p.Tx = &wire.MsgTx{Version: int32(version), LockTime: lock}
	return int(counts[0]), int(counts[1]), nil
}

func (p *Packet) readInput(r *bytes.Reader, i int) error {
	f, err := readMap(r, &inputKeys)
	if err != nil {
		return err
	}
	if p.Version == 2 {
		if err := p.addInput(f); err != nil {
			return err
		}
	}
	var in Input
	spends := p.Tx.TxIn[i].PreviousOutPoint
	if raw, ok := f[inputPrevious]; ok {
		in.Previous = new(wire.MsgTx)
		if err := whole(raw, in.Previous.Deserialize); err != nil {
			return fmt.Errorf("the transaction it spends from: %w", err)
		}
		if in.Previous.TxHash() != spends.Hash || uint64(spends.Index) >= uint64(len(in.Previous.TxOut)) {
			return fmt.Errorf("the transaction given for it is not the one it spends from, %s", spends)
		}
	}
	if raw, ok := f[inputOutput]; ok {
		in.Output = new(wire.TxOut)
		err := whole(raw, func(r io.Reader) (err error) { // wire.ReadTxOut takes 4 MB of memory for each
			if err = binary.Read(r, binary.LittleEndian, &in.Output.Value); err == nil {
				in.Output.PkScript, err = wire.ReadVarBytes(r, 0, uint32(len(raw)), "script")
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("the output it spends: %w", err)
		}
	}
	if in.Previous != nil {
		is := in.Previous.TxOut[spends.Index]
		if in.Output != nil && (in.Output.Value != is.Value || !bytes.Equal(in.Output.PkScript, is.PkScript)) {
			return fmt.Errorf("the output given for it is not %s of the transaction given for it", spends)
		}
		in.Output = is
	}
	if in.Sighash, err = f.uint32(inputSighash, 0); err != nil {
		return err
	}
	in.FinalScript = f[inputFinalScript]
	if raw, ok := f[inputFinalWitness]; ok {
		if in.FinalWitness, err = readWitness(raw); err != nil {
			return err
		}
	}
	p.Inputs = append(p.Inputs, in)
	return nil
}

func (p *Packet) addInput(f fields) error {
	for _, key := range []byte{inputTimeLock, inputHeightLock} {
		if _, ok := f[key]; ok {
			return errors.New("it wants a lock time of its own: no payment has one")
		}
	}
	hash, err := chainhash.NewHash(f[inputTxid])
	if err != nil {
		return errors.New("no txid of what it spends")
	}
	if _, ok := f[inputIndex]; !ok {
		return errors.New("no number of the output that it spends")
	}
	index, err := f.uint32(inputIndex, 0)
	if err != nil {
		return err
	}
	sequence, err := f.uint32(inputSequence, wire.MaxTxInSequenceNum)
	if err != nil {
		return err
	}
	p.Tx.TxIn = append(p.Tx.TxIn, &wire.TxIn{PreviousOutPoint: wire.OutPoint{Hash: *hash, Index: index}, Sequence: sequence})
	return nil
}

func (p *Packet) readOutput(r *bytes.Reader) error {
	f, err := readMap(r, &outputKeys)
	if err != nil || p.Version == 0 {
		return err
	}
	amount, script := f[outputAmount], f[outputScript]
	if len(amount) != 8 || script == nil {
		return errors.New("no amount or no script")
	}
	p.Tx.TxOut = append(p.Tx.TxOut, wire.NewTxOut(int64(binary.LittleEndian.Uint64(amount)), script))
	return nil
}

// Final is the signed transaction, if every input has its final signature.
func (p *Packet) Final() (*wire.MsgTx, bool) {
	tx := p.Tx.Copy()
	for i, in := range p.Inputs {
		if in.FinalScript == nil && in.FinalWitness == nil {
			return nil, false
		}
		tx.TxIn[i].SignatureScript, tx.TxIn[i].Witness = in.FinalScript, in.FinalWitness
	}
	return tx, len(p.Inputs) > 0
}

func readMap(r *bytes.Reader, k *keys) (fields, error) {
	f := fields{}
	seen := map[string]bool{}
	for {
		key, err := readBytes(r)
		if err != nil {
			return nil, err
		}
		if len(key) == 0 {
			return f, nil
		}
		if err := k.check(key); err != nil {
			return nil, err
		}
		value, err := readBytes(r)
		if err != nil {
			return nil, err
		}
		if seen[string(key)] {
			return nil, fmt.Errorf("key %x is there twice", key)
		}
		seen[string(key)] = true
		if len(key) == 1 {
			f[key[0]] = value
		}
	}
}

// readBytes reads a length and as many bytes.
func readBytes(r *bytes.Reader) ([]byte, error) {
	n, err := wire.ReadVarInt(r, 0)
	if err != nil || n > uint64(r.Len()) {
		return nil, errors.New("it is cut off")
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return b, err
}

func readWitness(raw []byte) (wire.TxWitness, error) {
	r := bytes.NewReader(raw)
	n, err := wire.ReadVarInt(r, 0)
	if err != nil || n > uint64(r.Len()) {
		return nil, errors.New("its witness is cut off")
	}
	w := make(wire.TxWitness, 0, n)
	for range n {
		item, err := readBytes(r)
		if err != nil {
			return nil, errors.New("its witness is cut off")
		}
		w = append(w, item)
	}
	if r.Len() != 0 {
		return nil, errors.New("its witness has bytes after its end")
	}
	return w, nil
}

// whole reads raw to its end.
func whole(raw []byte, read func(io.Reader) error) error {
	r := bytes.NewReader(raw)
	if err := read(r); err != nil {
		return err
	}
	if r.Len() != 0 {
		return errors.New("bytes follow its end")
	}
	return nil
}

func (f fields) uint32(key byte, otherwise uint32) (uint32, error) {
	b, ok := f[key]
	if !ok {
		return otherwise, nil
	}
	if len(b) != 4 {
		return 0, fmt.Errorf("field %#02x has %d bytes instead of 4", key, len(b))
	}
	return binary.LittleEndian.Uint32(b), nil
}
