package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"database/sql"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	btcaddress "github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/ecdsa"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/credentials"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/internal/testkit/port"
	"github.com/ckpool/ckpool/internal/testkit/postgres"
)

// holder is a wallet of one key, which signs texts as BIP322 and signmessage say, by btcd.
type holder struct {
	key    *btcec.PrivateKey
	script []byte
}

// holders are the wallets of scripts by name: the address is in a variable of that name.
func holders() (map[string]holder, error) {
	all := map[string]holder{}
	for name, kind := range map[string]string{"ALICE": "p2wpkh", "TAPROOT": "p2tr", "OLD": "p2pkh", "OTHER": "p2wpkh", "THIRD": "p2wpkh"} {
		sum := sha256.Sum256([]byte(name))
		key, pub := btcec.PrivKeyFromBytes(sum[:])
		hash := btcaddress.Hash160(pub.SerializeCompressed())
		h := holder{key: key, script: append([]byte{txscript.OP_0, txscript.OP_DATA_20}, hash...)}
		switch kind {
		case "p2tr":
			var err error
			if h.script, err = txscript.PayToTaprootScript(txscript.ComputeTaprootKeyNoScript(pub)); err != nil {
				return nil, err
			}
		case "p2pkh":
			h.script = append(append([]byte{txscript.OP_DUP, txscript.OP_HASH160, txscript.OP_DATA_20}, hash...), txscript.OP_EQUALVERIFY, txscript.OP_CHECKSIG)
		}
		all[name] = h
	}
	return all, nil
}

// input is the one of BIP322's transaction over a text, signed.
func (h holder) input(text string) (tx *wire.MsgTx, err error) {
	tag := chainhash.HashB([]byte("BIP0322-signed-message"))
	hash := chainhash.HashB(append(append(bytes.Clone(tag), tag...), text...))
	spend := &wire.MsgTx{TxIn: []*wire.TxIn{{PreviousOutPoint: wire.OutPoint{Index: wire.MaxPrevOutIndex}, SignatureScript: append([]byte{0, 32}, hash...)}},
		TxOut: []*wire.TxOut{{PkScript: h.script}}}
	tx = &wire.MsgTx{TxIn: []*wire.TxIn{{PreviousOutPoint: wire.OutPoint{Hash: spend.TxHash()}}}, TxOut: []*wire.TxOut{{PkScript: []byte{txscript.OP_RETURN}}}}
	in, sums := tx.TxIn[0], txscript.NewTxSigHashes(tx, txscript.NewCannedPrevOutputFetcher(h.script, 0))
	switch {
	case txscript.IsPayToTaproot(h.script):
		in.Witness, err = txscript.TaprootWitnessSignature(tx, sums, 0, 0, h.script, txscript.SigHashDefault, h.key)
	case txscript.IsPayToWitnessPubKeyHash(h.script):
		in.Witness, err = txscript.WitnessSignature(tx, sums, 0, 0, h.script, txscript.SigHashAll, h.key, true)
	default:
		in.SignatureScript, err = txscript.SignatureScript(tx, 0, h.script, txscript.SigHashAll, h.key, true)
	}
	return tx, err
}

// signature is one in a form: simple, full or legacy.
func (h holder) signature(form, text string) (string, error) {
	var b bytes.Buffer
	tx, err := h.input(text)
	switch form {
	case "full":
		err = errors.Join(err, tx.Serialize(&b))
	case "simple":
		err = errors.Join(err, wire.WriteVarInt(&b, 0, uint64(len(tx.TxIn[0].Witness))))
		for _, item := range tx.TxIn[0].Witness {
			err = errors.Join(err, wire.WriteVarBytes(&b, 0, item))
		}
	case "legacy":
		var message bytes.Buffer
		err = errors.Join(err, wire.WriteVarString(&message, 0, "Bitcoin Signed Message:\n"), wire.WriteVarString(&message, 0, text))
		b.Write(ecdsa.SignCompact(h.key, chainhash.DoubleHashB(message.Bytes()), true))
	default:
		return "", fmt.Errorf("there is no form %s", form)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), err
}

// signtext FILE FORM HOLDER [OLD NEW]: $TEXT is the first line of a file, with NEW in the
// place of OLD, and $SIGNATURE the holder's over it.
func signText(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 && len(args) != 5 {
		ts.Fatalf("usage: signtext file form holder [old new]")
	}
	text, _, _ := strings.Cut(ts.ReadFile(args[0]), "\n")
	if len(args) == 5 {
		old := regexp.MustCompile(args[3])
		if !old.MatchString(text) {
			ts.Fatalf("%q has no %q", text, args[3])
		}
		text = old.ReplaceAllLiteralString(text, args[4])
	}
	signature, err := ts.Value("holders").(map[string]holder)[args[2]].signature(args[1], text)
	ts.Check(err)
	ts.Setenv("TEXT", text)
	ts.Setenv("SIGNATURE", signature)
}

// field KEY NAME: $NAME is that of the JSON that was printed; of a list its first.
func field(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: field key variable")
	}
	var answer map[string]any
	d := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	d.UseNumber() // satoshis are whole
	ts.Check(d.Decode(&answer))
	value := answer[args[0]]
	if list, ok := value.([]any); ok && len(list) > 0 {
		value = list[0]
	}
	ts.Setenv(args[1], fmt.Sprint(value))
}

// code SECRET|@FILE: $CODE is what an app shows now for a secret, as RFC 6238 has it.
func setCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: code secret")
	}
	secret := args[0]
	if file, ok := strings.CutPrefix(secret, "@"); ok {
		secret = strings.TrimSpace(ts.ReadFile(file))
	}
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	ts.Check(err)
	m := hmac.New(sha1.New, key)
	m.Write(binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix()/30)))
	sum := m.Sum(nil)
	n := binary.BigEndian.Uint32(sum[sum[19]&15:]) & 0x7fffffff % 1_000_000
	ts.Setenv("CODE", fmt.Sprintf("%06d", n))
}

// login NAME PASSWORD [CODE]: somebody logs in, as a program beside ckdb lets people in, or
// is not let in, where that is what is wanted.
func login(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 && len(args) != 3 {
		ts.Fatalf("usage: login name password [code]")
	}
	s, err := store.Open(context.Background(), ts.Getenv("CKDB_DB"))
	ts.Check(err)
	defer s.Close()
	a := credentials.Attempt{Name: args[0], Password: args[1], From: netip.MustParseAddr("192.0.2.1"), Now: time.Now()}
	if len(args) == 3 {
		a.Code = args[2]
	}
	if _, err := credentials.Login(context.Background(), s, a); (err != nil) != neg {
		ts.Fatalf("login of %s: %v", args[0], err)
	}
}

// The scripts about people run in both kinds of database. In logs are request logs with
// shares of each holder, $REFERENCE is a database of the reference.
func TestUserScripts(t *testing.T) {
	tables, err := os.ReadFile("testdata/users/reference.sql")
	if err != nil {
		t.Fatal(err)
	}
	reference := postgres.Database(t)
	db, err := sql.Open("pgx", reference)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), string(tables)); err != nil {
		t.Fatal(err)
	}
	onBoth(t, "testdata/users", func(env *testscript.Env) error {
		all, err := holders()
		if err != nil {
			return err
		}
		env.Values["holders"] = all
		env.Setenv("REFERENCE", reference)
		free, err := port.Free()
		if err != nil {
			return err
		}
		env.Setenv("PORT", free)
		var log strings.Builder
		share := 0
		for name, h := range all {
			a, err := address.FromScript(h.script, address.Regtest)
			if err != nil {
				return err
			}
			env.Setenv(name, a.String())
			if name == "THIRD" { // mines nothing
				continue
			}
			share++
			fmt.Fprintf(&log, `shares.%d.json={"workinfoid":6432090123456,"ntime":"5943a1c1","diff":1024.0,"sdiff":2000.0,`+
				`"hash":"000000000020c47ae147ae147ae147ae0abcdef000000000000000000000000%d","result":true,"errn":0,`+
				`"createdate":"1497594049,1000","workername":"%s","username":"%s","agent":"x"}`+"\n", share, share, a, a)
		}
		if err := os.Mkdir(filepath.Join(env.WorkDir, "logs"), 0o700); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(env.WorkDir, "logs", "ckdb2017061606.log"), []byte(log.String()), 0o600)
	})
}
