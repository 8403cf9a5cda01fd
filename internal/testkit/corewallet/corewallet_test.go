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
	"testing"

	"ckpool/internal/testkit"
	"ckpool/internal/testkit/btcd"
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
}
