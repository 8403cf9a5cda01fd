package bitcoind

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/chaincfg/v2"
)

// A node that does not tell its chain is known by its genesis block.
func TestChainOfGenesisBlock(t *testing.T) {
	for want, params := range map[string]*chaincfg.Params{
		"main": &chaincfg.MainNetParams, "test": &chaincfg.TestNet3Params, "testnet4": &chaincfg.TestNet4Params,
		"signet": &chaincfg.SigNetParams, "regtest": &chaincfg.RegressionNetParams, "": &chaincfg.SimNetParams,
	} {
		if got := ChainOf(*params.GenesisHash); got != want {
			t.Errorf("%s: %q, want %q", params.Name, got, want)
		}
	}
}

// A transaction goes to the node as hex, and what its rules say of it comes back.
func TestSendRawTransaction(t *testing.T) {
	var said string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		said = string(body)
		var request struct {
			ID json.RawMessage `json:"id"`
		}
		_ = json.Unmarshal(body, &request)
		answer := `{"result":"` + strings.Repeat("ab", 32) + `","error":null,"id":` + string(request.ID) + `}`
		if strings.Contains(said, "0bad") {
			answer = `{"result":null,"error":{"code":-26,"message":"min relay fee not met"},"id":` + string(request.ID) + `}`
		}
		_, _ = io.WriteString(w, answer)
	}))
	defer s.Close()
	c := NewClient(Config{URL: s.URL}, Options{})
	if err := c.SendRawTransaction(t.Context(), []byte{2, 0, 0xfe}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(said, `"method":"sendrawtransaction"`) || !strings.Contains(said, `["0200fe"]`) {
		t.Error(said)
	}
	var refused *RPCError
	if err := c.SendRawTransaction(t.Context(), []byte{0x0b, 0xad}); !errors.As(err, &refused) || refused.Code != -26 {
		t.Errorf("%v", err)
	}
}

// What a node says is told and kept in short, whatever it is: lines of the log, the status, the
// table of blocks.
func TestLongTexts(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	answers := map[string]string{
		"submitblock": `"` + long + `"`, "getblockchaininfo": `{"chain":"` + long + `"}`, "getnetworkinfo": `{"subversion":"` + long + `"}`,
		"getblocktemplate": `{"version":1,"previousblockhash":"` + long + `","transactions":[],"coinbasevalue":1,"curtime":1,"bits":"1d00ffff","height":1}`,
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
		}
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			t.Error(err)
		}
		if result, ok := answers[request.Method]; ok {
			_, _ = io.WriteString(w, `{"result":`+result+`,"error":null,"id":`+string(request.ID)+`}`)
			return
		}
		_, _ = io.WriteString(w, `{"result":null,"error":{"code":-1,"message":"`+long+`"},"id":`+string(request.ID)+`}`)
	}))
	defer s.Close()
	c, ctx := NewClient(Config{URL: s.URL}, Options{}), t.Context()
	const most = maxText + 100
	verdict, err := c.SubmitBlock(ctx, []byte{1})
	if err != nil || len(verdict) > most || !strings.HasPrefix(verdict, "xxx") {
		t.Errorf("a verdict of %d bytes, %v", len(verdict), err)
	}
	info, err := c.ChainInfo(ctx)
	if err != nil || len(info.Chain) > most {
		t.Errorf("a chain of %d bytes, %v", len(info.Chain), err)
	}
	if v := c.version(ctx); len(v) > most || v == "" {
		t.Errorf("a version of %d bytes", len(v))
	}
	_, templateErr := c.Template(ctx, "")
	for what, err := range map[string]error{"a template": templateErr, "an error": c.Call(ctx, nil, "getblockcount")} {
		if reason := c.explain(err).reason; err == nil || len(reason) > most || reason == "" {
			t.Errorf("%s: a reason of %d bytes", what, len(reason))
		}
		if text, _ := replyText("", err); len(text) > most {
			t.Errorf("%s: a line of %d bytes", what, len(text))
		}
	}
}
