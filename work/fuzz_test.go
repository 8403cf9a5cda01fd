package work

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// reference reads a template with encoding/json. ok is false when the text is
// not JSON or a member has the wrong type.
type reference struct {
	Height, Version, CurTime, CoinbaseValue int64
	MinTime, VBRequired                     *int64
	PreviousBlockHash, Bits                 string
	LongPollID                              string
	Flags                                   *string
	Rules                                   []string
	Data, TxID, Hash                        []string
}

func readReference(body []byte) (*reference, bool) {
	r := &reference{}
	var m map[string]json.RawMessage // no struct: it would fold the case of names
	if json.Unmarshal(body, &m) != nil {
		return nil, false
	}
	get := func(m map[string]json.RawMessage, name string, v any) bool {
		return m[name] == nil || json.Unmarshal(m[name], v) == nil
	}
	var aux map[string]json.RawMessage
	var txs []map[string]json.RawMessage
	ok := get(m, "height", &r.Height) && get(m, "version", &r.Version) && get(m, "curtime", &r.CurTime) &&
		get(m, "coinbasevalue", &r.CoinbaseValue) && get(m, "mintime", &r.MinTime) && get(m, "vbrequired", &r.VBRequired) &&
		get(m, "previousblockhash", &r.PreviousBlockHash) && get(m, "bits", &r.Bits) && get(m, "longpollid", &r.LongPollID) &&
		get(m, "rules", &r.Rules) && get(m, "coinbaseaux", &aux) && get(aux, "flags", &r.Flags) && get(m, "transactions", &txs)
	for _, tx := range txs {
		var data, txid, hash string
		ok = ok && get(tx, "data", &data) && get(tx, "txid", &txid) && get(tx, "hash", &hash)
		r.Data, r.TxID, r.Hash = append(r.Data, data), append(r.TxID, txid), append(r.Hash, hash)
	}
	return r, ok
}

func FuzzParseTemplate(f *testing.F) {
	good := string(newGBT().json(f))
	for _, name := range []string{"regtest-getblocktemplate-0tx", "regtest-getblocktemplate-1tx", "signet-getblocktemplate"} {
		var reply struct{ Result json.RawMessage }
		if err := json.Unmarshal(replyBody(f, name), &reply); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(reply.Result))
	}
	f.Add([]byte(good))
	f.Add([]byte(strings.ReplaceAll(good, `"bits"`, `"\u0062\/its"`)))
	f.Add([]byte(strings.ReplaceAll(good, `"transactions":[]`,
		`"transactions":[{"data":"\u0030a","txid":"`+strings.Repeat("ab", 32)+`","depends":[1,2e5,-0.1],"hash":null},null]`)))
	f.Add([]byte(`{"height":1e3,"x":[{},[],"\ud83d\ude00",null,true,false]}`))

	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := ParseTemplate(body)
		want, ok := readReference(body)
		if err != nil {
			if ok && strings.HasPrefix(err.Error(), "block template: byte") && !strings.Contains(err.Error(), "transaction") &&
				!strings.Contains(err.Error(), "whole number") && !bytes.Contains(body, []byte("null")) {
				t.Fatalf("encoding/json reads it, but: %v", err)
			}
			return
		}
		if got.CheckWitness() != nil {
			got.ShareTransactions(nil) // must not fail on it either
			return                     // the content of data and hash may be anything then, control characters too
		}
		if !ok {
			t.Fatal("encoding/json does not read it")
		}
		if !utf8.Valid(body) {
			return // encoding/json replaces what is wrong
		}
		compare(t, got, want)
		got.ShareTransactions(nil)
		compare(t, got, want)
	})
}

func compare(t *testing.T, got *Template, want *reference) {
	t.Helper()
	prev, _ := hex.DecodeString(want.PreviousBlockHash)
	for i, j := 0, len(prev)-1; i < j; i, j = i+1, j-1 {
		prev[i], prev[j] = prev[j], prev[i]
	}
	minTime, required, flags := want.CurTime, int64(0), ""
	curTime := want.CurTime
	if want.MinTime != nil {
		minTime = *want.MinTime
		curTime = max(curTime, minTime)
	}
	if want.VBRequired != nil {
		required = *want.VBRequired
	}
	if want.Flags != nil {
		flags = *want.Flags
	}
	switch {
	case got.Height != want.Height, got.Version != uint32(want.Version), int64(got.CurTime) != curTime,
		got.CoinbaseValue != want.CoinbaseValue, int64(got.MinTime) != minTime, int64(got.VBRequired) != required,
		!bytes.Equal(got.PrevHash[:], prev), !strings.EqualFold(fmt.Sprintf("%08x", got.Bits), want.Bits),
		got.LongPollID != want.LongPollID, !strings.EqualFold(hex.EncodeToString(got.Flags), flags),
		strings.Join(got.Rules, "\x00") != strings.Join(want.Rules, "\x00"), got.TxCount() != len(want.Data):
		t.Fatalf("have %+v, want %+v", got, want)
	}
	for i := range want.Data {
		if data := hex.EncodeToString(got.AppendTransaction(nil, i)); !strings.EqualFold(data, want.Data[i]) {
			t.Fatalf("data %d is %s, want %s", i, data, want.Data[i])
		}
		txid, wtxid := want.TxID[i], want.Hash[i]
		if txid == "" {
			txid = wtxid
		}
		if wtxid == "" {
			wtxid = txid
		}
		id, err := got.txs.Load().wtxid(i)
		if err != nil || got.TxID(i) != displayHash(t, txid) || id != displayHash(t, wtxid) {
			t.Fatalf("ids %d are %x, %x, %v", i, got.TxID(i), id, err)
		}
	}
}

// What the scanner skips is JSON, and all JSON is skipped.
func FuzzSkip(f *testing.F) {
	for _, s := range []string{`{}`, `[1,-0.5e+7,"a\n\u00e9\\",{"":null}]`, `truefalse`, `"\ud800"`, `01`, `1.`, "\"\x01\"", `[,]`, `{"a":1,}`, " 7 ", `-`, "\"\xff\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := newScanner(body)
		if err != nil {
			t.Skip()
		}
		s.skip()
		s.end()
		if valid := json.Valid(body); valid != (s.err == nil) {
			t.Fatalf("json.Valid says %v, the scanner %v", valid, s.err)
		}
	})
}

func FuzzParseReply(f *testing.F) {
	good := string(newGBT().json(f))
	f.Add([]byte(`{"result":` + good + `,"error":null,"id":1}`))
	f.Add([]byte(`{"result":null,"error":{"code":-8,"message":"x\"y"},"id":1}`))
	f.Add([]byte(`{"error":"x"}`))
	f.Add([]byte(`{"id" : "7","result":` + good + `,"jsonrpc":"2.0"}`))
	f.Add([]byte(`{"result":` + good + `,"id":1,"jsonrpc":"2.0"}`))
	f.Add(replyBody(f, "main-getblocktemplate-error-not-connected"))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := ParseReply(body)
		tmpl, code, message := r.Template, r.Code, r.Message
		if !utf8.Valid(body) {
			return // encoding/json replaces what is wrong
		}
		var m map[string]json.RawMessage
		jsonErr := json.Unmarshal(body, &m)
		if err == nil && jsonErr == nil && string(m["id"]) != r.ID {
			t.Fatalf("id %s, want %s", r.ID, m["id"])
		}
		switch {
		case err != nil:
			if tmpl != nil || code != 0 || message != "" {
				t.Fatalf("beside an error: %+v", r)
			}
		case tmpl == nil:
			if jsonErr != nil || m["error"] == nil || string(m["error"]) == "null" {
				t.Fatalf("an error that is not there: %d %q, %v", code, message, jsonErr)
			}
			var e struct {
				Message *string `json:"message"`
			}
			if json.Unmarshal(m["error"], &e) == nil && e.Message != nil && bytes.Count(m["error"], []byte("essage")) == 1 &&
				bytes.Contains(m["error"], []byte(`"message"`)) && *e.Message != message {
				t.Fatalf("message %q, want %q", message, *e.Message)
			}
		default:
			if tmpl.CheckWitness() == nil && (jsonErr != nil || string(m["error"]) != "null" && m["error"] != nil) {
				t.Fatalf("template of a failed reply: %v", jsonErr)
			}
		}
	})
}
