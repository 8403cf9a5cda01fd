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
