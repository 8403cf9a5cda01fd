package payout

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/bitcoind"
)

const (
	firstTxid  = "b9330a3bca9f15fb2ba90823ff4630938a2913e27c2cc939a8c5afc29cd4574e"
	secondTxid = "f84e4f586e093049d992c17b4f56063700ba2803942090c8d952c5928937e01a"
)

// replay answers every call with a recorded answer, by the call's method.
func replay(t testing.TB, names map[string]string) *Wallet {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var call struct {
			ID     json.RawMessage
			Method string
		}
		if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
			t.Error(err)
		}
		name, ok := names[call.Method]
		if !ok {
			t.Errorf("%s was called", call.Method)
		}
		status, body := answer(t, name)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, strings.Replace(body, `"id":1}`, `"id":`+string(call.ID)+"}", 1))
	}))
	t.Cleanup(s.Close)
	return NewWallet(bitcoind.NewClient(bitcoind.Config{URL: s.URL + "/wallet/pool", User: "u", Pass: "p"}, bitcoind.Options{}), address.Regtest)
}

func answer(t testing.TB, name string) (status int, body string) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".http"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := http.ReadResponse(bufio.NewReader(f), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func result(t testing.TB, name string, into any) {
	t.Helper()
	_, body := answer(t, name)
	reply := struct{ Result any }{into}
	if err := json.Unmarshal([]byte(body), &reply); err != nil {
		t.Fatal(err)
	}
}

func recordedHex(t testing.TB) []byte {
	t.Helper()
	var r struct{ Hex string }
	result(t, "finalizepsbt", &r)
	raw, err := unhex("", r.Hex)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Every recorded answer of the way of a payment is understood.
func TestRecorded(t *testing.T) {
	ctx := t.Context()
	w := replay(t, map[string]string{
		"getbalances": "getbalances", "listunspent": "listunspent", "walletcreatefundedpsbt": "walletcreatefundedpsbt",
		"walletprocesspsbt": "walletprocesspsbt", "finalizepsbt": "finalizepsbt", "psbtbumpfee": "psbtbumpfee", "gettxout": "gettxout",
		"testmempoolaccept": "testmempoolaccept", "getaddressinfo": "getaddressinfo", "getwalletinfo": "getwalletinfo",
	})
	if b, err := w.Balances(ctx); err != nil || b != (Balances{50_000_000_000, 0, 500_000_000_000}) {
		t.Errorf("%+v, %v", b, err)
	}
	if list, err := w.Unspent(ctx, 1); err != nil || len(list) != 10 || list[0].Value != 5_000_000_000 {
		t.Errorf("%+v, %v", list, err)
	}
	f, err := w.Fund(ctx, []Output{{Address: p2tr, Debit: 150_000_000}}, nil, 5_000, false)
	if err != nil || f.Packet.Tx.TxHash().String() != firstTxid {
		t.Fatalf("%+v, %v", f, err)
	}
	raw, err := w.Sign(ctx, f.PSBT)
	if err != nil || !bytes.Equal(raw, recordedHex(t)) {
		t.Errorf("%x, %v", raw, err)
	}
	if b, err := w.Bump(ctx, firstTxid, 12_000); err != nil || b.Packet.Tx.TxHash().String() != secondTxid {
		t.Errorf("%+v, %v", b, err)
	}
	if c, err := w.Coin(ctx, wire.OutPoint{}, true); err != nil || c.Value != 150_000_000 || c.Confirmations != 1 || c.Coinbase {
		t.Errorf("%+v, %v", c, err)
	}
	if reason, err := w.Accepted(ctx, raw); err != nil || reason != "" {
		t.Errorf("%s, %v", reason, err)
	}
	script, _ := Script(p2tr, address.Regtest)
	if own, err := w.Own(ctx, script); err != nil || !own {
		t.Errorf("%v, %v", own, err)
	}
	if locked, err := w.Locked(ctx); err != nil || locked {
		t.Errorf("%v, %v", locked, err)
	}
}

func TestRecordedAbsence(t *testing.T) {
	ctx := t.Context()
	w := replay(t, map[string]string{
		"gettxout": "gettxout-spent", "testmempoolaccept": "testmempoolaccept-known", "walletprocesspsbt": "walletprocesspsbt-watchonly",
		"finalizepsbt": "finalizepsbt-incomplete", "estimatesmartfee": "estimatesmartfee-nodata", "getwalletinfo": "getwalletinfo-unlocked",
	})
	if c, err := w.Coin(ctx, wire.OutPoint{}, true); err != nil || c != nil {
		t.Errorf("%+v, %v", c, err)
	}
	if reason, err := w.Accepted(ctx, nil); err != nil || reason != "" {
		t.Errorf("%s, %v", reason, err)
	}
	if _, err := w.Sign(ctx, ""); err == nil || !strings.Contains(err.Error(), "write the transaction to a file") {
		t.Error(err)
	}
	var unsigned struct{ PSBT string }
	result(t, "walletcreatefundedpsbt", &unsigned)
	if _, err := w.Finalize(ctx, unsigned.PSBT); err == nil || !strings.Contains(err.Error(), "signatures are missing") {
		t.Error(err)
	}
	// Case 29: no estimate is asked for, not invented.
	if _, err := w.Rate(ctx, 6); err == nil || !strings.Contains(err.Error(), "Insufficient data or no feerate found): name one with --fee-rate") {
		t.Error(err)
	}
	if locked, err := w.Locked(ctx); err != nil || locked {
		t.Errorf("%v, %v", locked, err)
	}
}

func TestRecordedErrors(t *testing.T) {
	fund := func(ctx context.Context, w *Wallet) error {
		_, err := w.Fund(ctx, nil, nil, 5_000, false)
		return err
	}
	for _, tt := range []struct {
		method, name string
		call         func(context.Context, *Wallet) error
		code         int
		says         string
	}{
		{"walletcreatefundedpsbt", "walletcreatefundedpsbt-insufficient", fund, -4, "Insufficient funds: nothing was changed"},
		{"walletcreatefundedpsbt", "walletcreatefundedpsbt-dust", fund, -4, "Transaction amount too small"},
		{"walletcreatefundedpsbt", "walletcreatefundedpsbt-badaddress", fund, -5, "Invalid Bitcoin address: bc1qnot"},
		{"walletprocesspsbt", "walletprocesspsbt-locked", func(ctx context.Context, w *Wallet) error {
			_, err := w.Sign(ctx, "")
			return err
		}, -13, "unlock it with walletpassphrase of the node, and run the command again"},
		{"getbalances", "unknown-wallet", func(ctx context.Context, w *Wallet) error { _, err := w.Balances(ctx); return err }, -18, "load it with loadwallet"},
		{"getbalances", "no-wallet-loaded", func(ctx context.Context, w *Wallet) error { _, err := w.Balances(ctx); return err }, -18, "load it with loadwallet"},
	} {
		err := tt.call(t.Context(), replay(t, map[string]string{tt.method: tt.name}))
		if err == nil || code(err) != tt.code || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// Case 6: what an answer to the same bytes means.
func TestCase6Verdicts(t *testing.T) {
	for _, tt := range []struct {
		name, txid string
		want       Verdict
	}{
		{"sendrawtransaction", firstTxid, Taken}, {"sendrawtransaction-again", firstTxid, Taken},
		{"sendrawtransaction-replacement", secondTxid, Taken}, {"sendrawtransaction-confirmed", secondTxid, Mined},
		{"sendrawtransaction-conflict", firstTxid, Refused}, {"sendrawtransaction", secondTxid, Unclear},
		{"walletprocesspsbt-locked", firstTxid, Unclear}, {"unknown-wallet", firstTxid, Unclear},
	} {
		w := replay(t, map[string]string{"sendrawtransaction": tt.name})
		if got, reason := w.Send(t.Context(), recordedHex(t), tt.txid); got != tt.want || (reason == "") != (tt.want == Taken) {
			t.Errorf("%s for %s: %d %q, want %d", tt.name, tt.txid[:4], got, reason, tt.want)
		}
	}
}

func TestSeen(t *testing.T) {
	for _, tt := range []struct {
		name          string
		confirmations int64
		height        int64
		conflicts     int
	}{
		{"gettransaction-unconfirmed", 0, 0, 0}, {"gettransaction-replaced", 0, 0, 1}, {"gettransaction-confirmed1", 1, 111, 1},
		{"gettransaction-conflicted", -1, 0, 1}, {"gettransaction-afterreorg", 0, 0, 1},
	} {
		s, err := replay(t, map[string]string{"gettransaction": tt.name}).Seen(t.Context(), firstTxid, "")
		if err != nil || !s.Known || s.Confirmations != tt.confirmations || s.Height != tt.height || len(s.Conflicts) != tt.conflicts || len(s.Raw) == 0 {
			t.Errorf("%s: %+v, %v", tt.name, s, err)
		}
	}
	w := replay(t, map[string]string{"gettransaction": "getrawtransaction-nohint", "getrawtransaction": "getrawtransaction-nohint"})
	if s, err := w.Seen(t.Context(), firstTxid, ""); err != nil || s.Known {
		t.Errorf("%+v, %v", s, err)
	}
	w = replay(t, map[string]string{"gettransaction": "getrawtransaction-nohint", "getrawtransaction": "getrawtransaction-inblock"})
	if s, err := w.Seen(t.Context(), secondTxid, strings.Repeat("0", 64)); err != nil || s.Confirmations != 1 || s.Block == "" {
		t.Errorf("%+v, %v", s, err)
	}
}

// recordedPlan is what the recorded payment was made of.
func recordedPlan(t testing.TB) (outputs []Output, inputs []Input) {
	t.Helper()
	for i, o := range []struct {
		to     string
		amount int64
	}{{p2tr, 150_000_000}, {p2wpkh, 25_000_000}, {p2sh, 10_000}, {p2pkh, 300_000_000}} {
		script, err := Script(o.to, address.Regtest)
		if err != nil {
			t.Fatal(err)
		}
		outputs = append(outputs, Output{int64(i), o.to, o.to, script, o.amount, o.amount})
	}
	hash, err := chainhash.NewHashFromStr("0f2d5a1ca33acf8ea9df9097457a75827e7fc7c5d310f4eaceb725634518105b")
	if err != nil {
		t.Fatal(err)
	}
	script, err := Script("bcrt1qm9ecw6rj3wlvnxx8zpe8cnwd2046ceq2060zaf", address.Regtest)
	if err != nil {
		t.Fatal(err)
	}
	return outputs, []Input{{wire.OutPoint{Hash: *hash}, 5_000_000_000, script}}
}
