package work

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRecordedReplies(t *testing.T) {
	for _, tt := range []struct {
		name         string
		height       int64
		prev         string
		bits         uint32
		cur, min     uint32
		value        int64
		commitment   string
		longPollID   string
		transactions int
	}{
		{"regtest-getblocktemplate-1tx", 564, "19e16f4a310aedd8879259e63e64b69ae5786af72bfdb2b468ac2bdeaf39aaa8", 0x207fffff,
			1795332621, 1795332590, 625012819, "60baa19366a868fb51f17f1d380405fc88c9e933d3437a0f9153b0f32a876f0e",
			"19e16f4a310aedd8879259e63e64b69ae5786af72bfdb2b468ac2bdeaf39aaa815441", 1},
		{"regtest-getblocktemplate-longpoll-answer", 434, "60abf1750356a9b2b96470a2f3268c7cba48ce07e959d45e3aa0f4a9cb015636", 0x207fffff,
			1795332535, 1795329969, 1250000000, "e2f61c3f71d1defd3fa999dfa36953755c690689799962b48bebd836974e8cf9",
			"60abf1750356a9b2b96470a2f3268c7cba48ce07e959d45e3aa0f4a9cb01563614504", 0},
		{"regtest-getblocktemplate-400tx", 563, "58b5aa4e346b26b5460218e909e0e8695fd5774ea0825efa0e633aae0ae8ee13", 0x207fffff,
			1795332590, 1795332590, 629000000, "e9c19c05a5a50f9afe6d56b8846fbb7a61f27a992a5f6bb0c4054d68469fa150",
			"58b5aa4e346b26b5460218e909e0e8695fd5774ea0825efa0e633aae0ae8ee1315039", 400},
		{"signet-getblocktemplate", 1, "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6", 0x1e0377ae,
			1795332586, 1598918401, 5000000000, "e2f61c3f71d1defd3fa999dfa36953755c690689799962b48bebd836974e8cf9",
			"00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef61", 0},
		{"testnet4-getblocktemplate", 1, "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043", 0x1d00ffff,
			1795332535, 1714777861, 5000000000, "e2f61c3f71d1defd3fa999dfa36953755c690689799962b48bebd836974e8cf9",
			"00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf0431", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := recorded(t, tt.name)
			type values struct {
				Height, Value           int64
				Version, Bits, Cur, Min uint32
				Prev                    [32]byte
				Commitment, LongPollID  string
				Flags                   []byte
				Transactions            int
			}
			have := values{got.Height, got.CoinbaseValue, got.Version, got.Bits, got.CurTime, got.MinTime, got.PrevHash,
				hex.EncodeToString(got.DefaultCommitment), got.LongPollID, got.Flags, got.TxCount()}
			want := values{tt.height, tt.value, 0x20000000, tt.bits, tt.cur, tt.min, displayHash(t, tt.prev),
				"6a24aa21a9ed" + tt.commitment, tt.longPollID, nil, tt.transactions}
			if d := cmp.Diff(want, have); d != "" {
				t.Error(d)
			}
			if err := got.CheckWitness(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRecordedErrors(t *testing.T) {
	for name, want := range map[string]struct {
		code    int
		message string
	}{
		"regtest-getblocktemplate-norules": {-8, `getblocktemplate must be called with the segwit rule set (call with {"rules": ["segwit"]})`},
		"signet-getblocktemplate-without-signet-rule": {-8,
			`getblocktemplate must be called with the signet rule set (call with {"rules": ["segwit", "signet"]})`},
		"main-getblocktemplate-error-not-connected": {-9, "Bitcoin Core is not connected!"},
	} {
		r, err := ParseReply(replyBody(t, name))
		if r.Template != nil || err != nil || r.Code != want.code || r.Message != want.message {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestReplyForms(t *testing.T) {
	result := string(newGBT().json(t))
	for _, tt := range []struct{ body, message, err string }{
		{`{"result":` + result + `,"error":null,"id":1}`, "", ""},
		{` { "id" : null , "error" : null , "jsonrpc" : "2.0", "result" : ` + result + ` } ` + "\n", "", ""},
		{`{"result":` + result + `}`, "", ""},
		{`{"result":null,"result":` + result + `}`, "", ""},
		{`{"error":{"code":-1,"message":"x"},"error":null,"result":` + result + `}`, "", ""},
		{`{"result":null,"error":{"message":"l\u00f6\"s","data":[1],"code":5}}`, `lö"s`, ""},
		{`{"result":null,"error":"plain"}`, "plain", ""},
		{`{"result":null,"error":[20,"x",null]}`, `[20,"x",null]`, ""},
		{`{"result":null,"error":null}`, "", "neither result nor error"},
		{`{}`, "", "neither result nor error"},
		{`{"result":` + result + `,"result":null}`, "", "neither result nor error"},
		{`{"result":5}`, "", "byte 10: '5' where { is expected"},
		{`{"result":` + result, "", "the text ends where"},
		{`{"result":` + result + `}}`, "", "'}' where the end is expected"},
		{`[]`, "", "byte 0: '[' where { is expected"},
		{``, "", "the text ends where { is expected"},
	} {
		r, err := ParseReply([]byte(tt.body))
		tmpl, message := r.Template, r.Message
		checkError(t, tt.body, err, tt.err)
		if message != tt.message {
			t.Errorf("%.60s: message %q, want %q", tt.body, message, tt.message)
		}
		if (tmpl != nil) != (tt.message == "" && tt.err == "") {
			t.Errorf("%.60s: template %v", tt.body, tmpl)
		}
	}
}

// The order of members means nothing.
func TestReplyID(t *testing.T) {
	result := `"result":` + string(newGBT().json(t))
	for body, want := range map[string]string{
		`{` + result + `,"error":null,"id":1}`:                   "1",
		`{` + result + `,"id":1,"jsonrpc":"2.0"}`:                "1",
		`{"id" : "7" ,` + result + `}`:                           `"7"`,
		`{"jsonrpc":"2.0",` + result + `,"id":null}`:             "null",
		`{` + result + `}`:                                       "",
		`{"error":{"code":-9,"id":5},"id":3}`:                    "3",
		`{` + result + `,"x":{"id":8},"id":2,"y":[{"id":9}]}`:    "2",
		`{` + result + `,"id":4,"longpollid":"x\",\"id\":6,\""}`: "4",
	} {
		if r, err := ParseReply([]byte(body)); err != nil || r.ID != want {
			t.Errorf("%.30s…%s: id %s, want %s, %v", body, body[max(0, len(body)-40):], r.ID, want, err)
		}
	}
}

func checkError(t *testing.T, name string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%.100s: %v", name, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%.100s: error %v, want one with %q", name, err, want)
	}
}

func TestTemplateErrors(t *testing.T) {
	tx := func(members ...any) []any { return []any{gbt{}.with(members...)} }
	id := strings.Repeat("ab", 32)
	for _, tt := range []struct {
		name string
		g    gbt
		err  string
	}{
		{"as it is", newGBT(), ""},
		{"no rules", newGBT().with("rules", nil), ""}, // btcd
		{"plain segwit", newGBT().with("rules", []string{"segwit"}), ""},
		{"signet", newGBT().with("rules", []string{"!segwit", "!signet"}, "signet_challenge", "51"), ""},
		{"no mintime", newGBT().with("mintime", nil), ""},
		{"no coinbaseaux", newGBT().with("coinbaseaux", nil), ""},
		{"unknown members", newGBT().with("x", []any{1.5e-3, "\n", map[string]any{"y": nil}, true, false}), ""},
		{"negative version", newGBT().with("version", -536870912), ""},
		{"txid only", newGBT().with("transactions", tx("data", "00", "txid", id)), ""},
		{"hash only", newGBT().with("transactions", tx("data", "00", "hash", id)), ""},

		{"no prev", newGBT().with("previousblockhash", nil), "previousblockhash missing"},
		{"two missing", newGBT().with("version", nil, "height", nil), "version, height missing"},
		{"no curtime", newGBT().with("curtime", nil), "curtime missing"},
		{"no bits", newGBT().with("bits", nil), "bits missing"},
		{"no value", newGBT().with("coinbasevalue", nil), "coinbasevalue missing"},
		{"no transactions", newGBT().with("transactions", nil), "transactions missing"},
		{"null is missing", newGBT().with("height", json.RawMessage("null")), "height missing"},
		{"zero prev", newGBT().with("previousblockhash", strings.Repeat("0", 64)), "is not the hash of a block"},
		{"short prev", newGBT().with("previousblockhash", "00"), `previousblockhash "00" is not the hash`},
		{"prev not hex", newGBT().with("previousblockhash", strings.Repeat("g", 64)), "is not the hash"},
		{"prev a number", newGBT().with("previousblockhash", 5), "is expected"},
		{"zero version", newGBT().with("version", 0), "version is 0"},
		{"version too large", newGBT().with("version", 1<<32), "version 4294967296 is not a whole number from"},
		{"fraction", newGBT().with("curtime", 1.5), "curtime 1.5 is not a whole number from 1"},
		{"zero curtime", newGBT().with("curtime", 0), "curtime 0 is not"},
		{"height a string", newGBT().with("height", "5"), "height: "},
		{"negative height", newGBT().with("height", -1), "height -1 is not"},
		{"negative value", newGBT().with("coinbasevalue", -1), "coinbasevalue -1 is not"},
		{"more than all money", newGBT().with("coinbasevalue", int64(maxMoney+1)), "coinbasevalue 2100000000000001 is not"},
		{"huge number", newGBT().with("coinbasevalue", json.RawMessage("99999999999999999999")), "coinbasevalue 99999999999999999999 is not"},
		{"short bits", newGBT().with("bits", "1d00ff"), `bits "1d00ff" are not 8 hex digits`},
		{"signed bits", newGBT().with("bits", "+1d00fff"), "are not 8 hex digits"},
		{"negative target", newGBT().with("bits", "1d80ffff"), "bits 1d80ffff: "},
		{"zero target", newGBT().with("bits", "1d000000"), "bits 1d000000: "},
		{"flags", newGBT().with("coinbaseaux", gbt{"flags": "0"}), `coinbaseaux.flags "0" is not hex`},
		{"unknown rule", newGBT().with("rules", []string{"!segwit", "!quantum"}), "Required rule not understood: !quantum"},
		{"unknown rule of a chain without segwit", newGBT().with("rules", []string{"!quantum"}), "Required rule not understood: !quantum"},
		{"no segwit", newGBT().with("rules", []string{"csv"}), "segwit is not among the rules"},
		{"empty rules", newGBT().with("rules", []string{}), "segwit is not among the rules"},
		{"signed signet", newGBT().with("signet_challenge", "5121"), "this signet wants signed blocks"},
		{"signed signet without rules is told first", gbt{"signet_challenge": "5121"}, "this signet wants signed blocks"},
		{"commitment too short", newGBT().with("default_witness_commitment", "6a24"), `default_witness_commitment "6a24" is neither`},
		{"commitment not hex", newGBT().with("default_witness_commitment", strings.Repeat("zz", 38)), "is neither"},
		{"other script", newGBT().with("default_witness_commitment", strings.Repeat("00", 38)), "is neither"},
		{"transaction without data", newGBT().with("transactions", tx("txid", id)), "transaction 0 has no data"},
		{"transaction without ids", newGBT().with("transactions", tx("data", "00")), "transaction 0 has no usable txid"},
		{"txid not hex", newGBT().with("transactions", tx("data", "00", "txid", strings.Repeat("x", 64))), "transaction 0 has no usable txid"},
		{"hash not hex", newGBT().with("transactions", tx("data", "00", "txid", id, "hash", "x")), `transaction 0 has the hash "x"`},
		{"transaction a string", newGBT().with("transactions", []any{"00"}), "where { is expected"},
	} {
		_, err := ParseTemplate(tt.g.json(t))
		checkError(t, tt.name, err, tt.err)
	}
}

func TestTemplateSyntax(t *testing.T) {
	good := string(newGBT().json(t))
	for _, change := range [][2]string{
		{good, ""}, {good, good + "x"}, {good, good[:len(good)-1]}, {good, good[:len(good)-1] + `,":1}`}, {good, good + good},
		{`"height":`, `"height"`}, {`"height":`, `"height"::`}, {`"height":`, `height:`}, {`"height":`, `"hei` + "\n" + `ght":`},
		{`"height":850000`, `"height":850000,`}, {`"height":850000`, `"height":0850000`}, {`"height":850000`, `"height":--1`},
		{`"height":850000`, `"height":`}, {`"height":850000`, `"x":tru`}, {`"height":850000`, `"x":1.`}, {`"height":850000`, `"x":1e`},
		{`"height":850000`, `"x":"\x"`}, {`"height":850000`, `"x":"\`}, {`"height":850000`, `"x":[1}`}, {`"height":850000`, `"x":` + strings.Repeat("[", 20000)},
	} {
		body := strings.Replace(good, change[0], change[1], 1)
		if json.Valid([]byte(body)) {
			t.Fatalf("%s is valid", body)
		}
		if _, err := ParseTemplate([]byte(body)); err == nil {
			t.Errorf("%.80s gave no error", body)
		}
	}
}

// Key order, white space, escapes and duplicate members make no difference.
func TestTemplateSpelling(t *testing.T) {
	body := []byte("\t{ \r\n" + `"transactions" : [ { "weight" : 1 , "hash" : "` + strings.Repeat("CD", 32) + `", "data":"\u0030\u0031ff",
		"txid" : "` + strings.Repeat("ab", 31) + `\u0061b" }, {"txid":null,"data":"02","hash":"` + strings.Repeat("12", 32) + `"} ] ,
		"b\u0069ts":"\u0031d00ffff", "height": 1, "height":null, "height" :7, "rules":[],"rules":["segwit"],
		"coinbaseaux":{"flags":"00"},"coinbaseaux":{"x":1,"flags":"0a0B"}, "coinbasevalue":-0,"vbrequired":8192,
		"longpollid":"a\/b", "curtime":100, "version":4, "default_witness_commitment":"` + strings.Repeat("Ef", 32) + `",
		"previousblockhash":"` + strings.Repeat("0f", 32) + "\" }\n")
	if !json.Valid(body) {
		t.Fatal("not JSON")
	}
	got, err := ParseTemplate(body)
	if err != nil {
		t.Fatal(err)
	}
	if got.Height != 7 || got.Bits != 0x1d00ffff || got.CoinbaseValue != 0 || got.VBRequired != 8192 || got.MinTime != 100 ||
		got.LongPollID != "a/b" || !bytes.Equal(got.Flags, []byte{10, 11}) || got.Version != 4 {
		t.Errorf("%+v", got)
	}
	wantScript := append([]byte{0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed}, bytes.Repeat([]byte{0xef}, 32)...)
	if !bytes.Equal(got.DefaultCommitment, wantScript) {
		t.Errorf("bare commitment became %x", got.DefaultCommitment)
	}
	for i, want := range []struct{ data, txid, wtxid byte }{{1, 0xab, 0xcd}, {2, 0x12, 0x12}} {
		wtxid, err := got.txs.Load().wtxid(i)
		if err != nil || wtxid != [32]byte(bytes.Repeat([]byte{want.wtxid}, 32)) {
			t.Errorf("wtxid %d is %x, %v", i, wtxid, err)
		}
		if got.TxID(i) != [32]byte(bytes.Repeat([]byte{want.txid}, 32)) || got.AppendTransaction(nil, i)[0] != want.data {
			t.Errorf("transaction %d: %x, %x", i, got.TxID(i), got.AppendTransaction(nil, i))
		}
	}
}
