package corewallet

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
)

type reply struct {
	Result json.RawMessage
	Error  *rpcError
}

// recorded is what Bitcoin Core answered.
func recorded(t *testing.T, name string) (status int, r reply) {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "payout", "testdata", name+".http"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	answer, err := http.ReadResponse(bufio.NewReader(f), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(answer.Body)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, r
}

// The wallet answers as Bitcoin Core did: the same status, the same error, and members
// that Bitcoin Core has too.
func TestAsRecorded(t *testing.T) {
	t.Parallel()
	node := testkit.StartBtcd(t, btcd.Options{})
	node.Generate(102)
	w := New(node.Node)
	to := btcd.NewWallet("payee").Address()
	var txid string
	ask := func(path, method string, params ...any) (int, reply) {
		t.Helper()
		list := params
		if list == nil {
			list = []any{}
		}
		body, err := json.Marshal(map[string]any{"id": 1, "method": method, "params": list})
		if err != nil {
			t.Fatal(err)
		}
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, bytes.NewReader(body)))
		var r reply
		if err := json.Unmarshal(rec.Body.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		return rec.Code, r
	}
	same := func(name, path, method string, params ...any) reply {
		t.Helper()
		status, r := ask(path, method, params...)
		wantStatus, want := recorded(t, name)
		if status != wantStatus || (r.Error == nil) != (want.Error == nil) {
			t.Fatalf("%s: %d %v, want %d %v", name, status, r.Error, wantStatus, want.Error)
		}
		if r.Error != nil && r.Error.Code != want.Error.Code {
			t.Errorf("%s: %v, want %v", name, r.Error, want.Error)
		}
		var have, has map[string]json.RawMessage
		if json.Unmarshal(want.Result, &has) == nil && json.Unmarshal(r.Result, &have) == nil {
			for key := range have {
				if _, ok := has[key]; !ok {
					t.Errorf("%s: member %s, which Bitcoin Core has not", name, key)
				}
			}
		}
		return r
	}
	options := map[string]any{"fee_rate": 5}
	outputs := func(amount string) []any { return []any{map[string]any{to: json.RawMessage(amount)}} }
	same("unknown-wallet", "/wallet/nowhere", "getbalances")
	same("getbalances", "/wallet/pool", "getbalances")
	same("walletcreatefundedpsbt-insufficient", "/", "walletcreatefundedpsbt", []any{}, outputs("100000"), 0, options)
	same("walletcreatefundedpsbt-dust", "/", "walletcreatefundedpsbt", []any{}, outputs("0.000001"), 0, options)
	same("walletcreatefundedpsbt-badaddress", "/", "walletcreatefundedpsbt", []any{}, []any{map[string]any{"bc1qnot": 1}}, 0, options)
	same("estimatesmartfee-nodata", "/", "estimatesmartfee", 6)
	var funded, signed, bumped, final struct{ PSBT, Hex string }
	decodeInto := func(r reply, into any) {
		t.Helper()
		if err := json.Unmarshal(r.Result, into); err != nil {
			t.Fatal(err)
		}
	}
	decodeInto(same("walletcreatefundedpsbt", "/", "walletcreatefundedpsbt", []any{}, outputs("1.5"), 0, options), &funded)
	w.SetLocked(true)
	same("walletprocesspsbt-locked", "/", "walletprocesspsbt", funded.PSBT)
	w.SetLocked(false)
	same("finalizepsbt-incomplete", "/", "finalizepsbt", funded.PSBT)
	decodeInto(same("walletprocesspsbt", "/", "walletprocesspsbt", funded.PSBT), &signed)
	same("testmempoolaccept", "/", "testmempoolaccept", []string{signed.Hex})
	decodeInto(same("sendrawtransaction", "/", "sendrawtransaction", signed.Hex), &txid)
	same("sendrawtransaction-again", "/", "sendrawtransaction", signed.Hex)
	same("testmempoolaccept-known", "/", "testmempoolaccept", []string{signed.Hex})
	same("gettransaction-unconfirmed", "/", "gettransaction", txid)
	decodeInto(same("psbtbumpfee", "/", "psbtbumpfee", txid, map[string]any{"fee_rate": 12}), &bumped)
	decodeInto(same("walletprocesspsbt", "/", "walletprocesspsbt", bumped.PSBT), &final)
	var second string
	decodeInto(same("sendrawtransaction-replacement", "/", "sendrawtransaction", final.Hex), &second)
	same("gettransaction-replaced", "/", "gettransaction", txid)
	same("sendrawtransaction-conflict", "/", "sendrawtransaction", signed.Hex)
	block := node.Generate(1)[0]
	same("gettransaction-confirmed1", "/", "gettransaction", second)
	r := same("gettransaction-conflicted", "/", "gettransaction", txid)
	var gone struct{ Confirmations int64 }
	if decodeInto(r, &gone); gone.Confirmations != -1 {
		t.Errorf("conflicted: %d confirmations", gone.Confirmations)
	}
	same("getrawtransaction-nohint", "/", "getrawtransaction", second, true)
	same("getrawtransaction-inblock", "/", "getrawtransaction", second, true, block)
	same("sendrawtransaction-confirmed", "/", "sendrawtransaction", final.Hex)
	same("gettxout-spent", "/", "gettxout", txid, 0)
	same("gettxout", "/", "gettxout", second, 0)
	node.Reorg(1)
	same("gettransaction-afterreorg", "/", "gettransaction", second)

	// These were not recorded: they are as the documentation of Bitcoin Core's RPC has them
	// (listsinceblock and lockunspent of 28.0), and its errors (ParseOutputs of
	// walletcreatefundedpsbt).
	var since struct {
		Transactions []struct {
			Txid, Category string
			Confirmations  int64
		}
		Last string `json:"lastblock"`
	}
	tip := node.BestBlockHash()
	// The block is not in the chain any more: from where it left it, its transactions too,
	// also the one that was replaced, since what replaced it is not confirmed any more.
	_, r = ask("/", "listsinceblock", block, 1, true, false)
	decodeInto(r, &since)
	if len(since.Transactions) != 2 || !bytes.Contains(r.Result, []byte(second)) || !bytes.Contains(r.Result, []byte(txid)) || since.Transactions[0].Category != "send" || since.Last != tip || bytes.Contains(r.Result, []byte("removed")) {
		t.Errorf("listsinceblock: %s %v", r.Result, r.Error)
	}
	if _, r = ask("/", "listsinceblock"); !bytes.Contains(r.Result, []byte(`"removed"`)) {
		t.Errorf("listsinceblock: %s %v", r.Result, r.Error)
	}
	list := func(txid string, vout int) []any { return []any{map[string]any{"txid": txid, "vout": vout}} }
	coin := node.Generate(1)
	mined, err := node.Node.Block(t.Context(), coin[0])
	if err != nil {
		t.Fatal(err)
	}
	own := mined.Transactions[0].TxHash().String()
	for _, v := range []struct {
		method string
		params []any
		code   int
		text   string
	}{
		{"walletcreatefundedpsbt", []any{[]any{}, append(outputs("1"), outputs("2")...), 0, options}, -8, "Invalid parameter, duplicated address: " + to},
		{"listsinceblock", []any{strings.Repeat("00", 32)}, -5, "Block not found"},
		{"listsinceblock", []any{tip, 0}, -8, "Invalid parameter"},
		{"lockunspent", []any{false, list(strings.Repeat("00", 32), 0)}, -8, "Invalid parameter, unknown transaction"},
		{"lockunspent", []any{false, list(own, 9)}, -8, "Invalid parameter, vout index out of bounds"},
		{"lockunspent", []any{true, list(own, 0)}, -8, "Invalid parameter, expected locked output"},
		{"lockunspent", []any{false, list(own, 0)}, 0, ""},
		{"lockunspent", []any{false, list(own, 0)}, -8, "Invalid parameter, output already locked"},
		{"lockunspent", []any{false, list(own, 0), true}, 0, ""},
		{"lockunspent", []any{true, list(own, 0)}, 0, ""},
		{"lockunspent", []any{false, list(mined.Transactions[1].TxIn[0].PreviousOutPoint.Hash.String(), int(mined.Transactions[1].TxIn[0].PreviousOutPoint.Index))}, -8, "Invalid parameter, expected unspent output"},
	} {
		_, r := ask("/", v.method, v.params...)
		if v.code == 0 && r.Error == nil {
			continue
		}
		if r.Error == nil || r.Error.Code != v.code || r.Error.Message != v.text {
			t.Errorf("%s %v: %+v, want %d %s", v.method, v.params, r.Error, v.code, v.text)
		}
	}
}
