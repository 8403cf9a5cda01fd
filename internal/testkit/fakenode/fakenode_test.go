package fakenode

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/wait"
)

func start(t *testing.T, c Config) *Node {
	t.Helper()
	c.User, c.Password = "user", "pass"
	n, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// Authorization is the value of that header for the node's user and password.
func (n *Node) Authorization() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(n.config.User+":"+n.config.Password))
}

// answer is one HTTP answer.
type answer struct {
	status int
	header http.Header
	body   string
	result json.RawMessage
	code   int    // of the error
	text   string // of the error
}

func (n *Node) post(t *testing.T, auth, body string) (answer, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+n.Addr()+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return parseAnswer(resp, b), err
}

func parseAnswer(resp *http.Response, body []byte) answer {
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(body)}
	var reply struct {
		Result json.RawMessage
		Error  *rpcError
	}
	if json.Unmarshal(body, &reply) == nil {
		a.result = reply.Result
		if reply.Error != nil {
			a.code, a.text = reply.Error.Code, reply.Error.Message
		}
	}
	return a
}

// eventually waits for a condition.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	wait.Until(t, time.Minute, "what the test waits for", holds)
}

func (n *Node) rpc(t *testing.T, method string, params ...any) answer {
	t.Helper()
	if params == nil {
		params = []any{}
	}
	b, err := json.Marshal(map[string]any{"id": 1, "method": method, "params": params})
	if err != nil {
		t.Fatal(err)
	}
	a, err := n.post(t, n.Authorization(), string(b))
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return a
}

func recorded(t *testing.T, name string) answer {
	t.Helper()
	f, err := os.ReadFile(filepath.Join("testdata", "core", name))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(f)), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return parseAnswer(resp, b)
}

var segwitRules = map[string]any{"rules": []string{"segwit", "signet"}, "capabilities": []string{"longpoll"}}

// keys lists the paths of all members in the order of the text.
func keys(t *testing.T, raw json.RawMessage) []string {
	t.Helper()
	var list []string
	var walk func(prefix string, raw json.RawMessage)
	walk = func(prefix string, raw json.RawMessage) {
		d := json.NewDecoder(bytes.NewReader(raw))
		tok, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		if tok != json.Delim('{') {
			list = append(list, fmt.Sprintf("%s %T", prefix, tok))
			return
		}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				t.Fatal(err)
			}
			var value json.RawMessage
			if err := d.Decode(&value); err != nil {
				t.Fatal(err)
			}
			walk(prefix+"."+name.(string), value)
		}
	}
	walk("", raw)
	return list
}

func TestAnswersHaveCoresLayout(t *testing.T) {
	regtest := start(t, Config{})
	signet := start(t, Config{Chain: "signet", Bits: 0x1e0377ae})
	main := start(t, Config{Chain: "main", Bits: 0x1d00ffff})
	_, tip := regtest.Tip()
	for _, c := range []struct {
		file   string
		node   *Node
		method string
		params []any
		less   []string // members that depend on what the recorded node's chain was like
	}{
		{"regtest-getblocktemplate-0tx.http", regtest, "getblocktemplate", []any{segwitRules}, nil},
		{"signet-getblocktemplate.http", signet, "getblocktemplate", []any{segwitRules}, nil},
		{"testnet4-getblocktemplate.http", main, "getblocktemplate", []any{segwitRules}, nil},
		{"regtest-getblockchaininfo.http", regtest, "getblockchaininfo", nil, nil},
		{"main-getblockchaininfo.http", main, "getblockchaininfo", nil, nil},
		{"regtest-getnetworkinfo.http", regtest, "getnetworkinfo", nil, nil},
		{"regtest-getmininginfo.http", regtest, "getmininginfo", nil, []string{".currentblockweight float64", ".currentblocktx float64"}},
		{"regtest-getblockheader-version.http", regtest, "getblockheader", []any{tip}, []string{".nextblockhash string"}},
		{"regtest-getbestblockhash.http", regtest, "getbestblockhash", nil, nil},
		{"regtest-getblockhash.http", regtest, "getblockhash", []any{1000}, nil},
		{"preciousblock.http", regtest, "preciousblock", []any{tip}, nil},
		{"regtest-validateaddress-invalid.http", regtest, "validateaddress", []any{"1BoatSLRHtKNngkdXEeobR76b53LETtpyT"}, nil},
	} {
		want, got := recorded(t, c.file), c.node.rpc(t, c.method, c.params...)
		if got.status != want.status {
			t.Errorf("%s: status %d, want %d", c.file, got.status, want.status)
		}
		if got.header.Get("Content-Type") != want.header.Get("Content-Type") {
			t.Errorf("%s: content type %q", c.file, got.header.Get("Content-Type"))
		}
		wantKeys := slices.DeleteFunc(keys(t, want.result), func(k string) bool { return slices.Contains(c.less, k) })
		if gotKeys := keys(t, got.result); !slices.Equal(gotKeys, wantKeys) {
			t.Errorf("%s:\ngot  %v\nwant %v", c.file, gotKeys, wantKeys)
		}
	}
}

func TestErrorsAreCoresToTheByte(t *testing.T) {
	regtest, signet := start(t, Config{}), start(t, Config{Chain: "signet"})
	main := start(t, Config{Chain: "main"})
	main.SetFault(Fault{Kind: NotConnected})
	_, tip := regtest.Tip()
	for _, c := range []struct {
		file string
		node *Node
		body string
	}{
		{"error-parse.http", regtest, `{`},
		{"error-unknown-method.http", regtest, `{"id":1,"method":"nosuch","params":[]}`},
		{"error-unknown-method-jsonrpc2.http", regtest, `{"jsonrpc":"2.0","id":1,"method":"nosuch","params":[]}`},
		{"preciousblock-unknown.http", regtest, `{"id":1,"method":"preciousblock","params":["` + strings.Repeat("12", 32) + `"]}`},
		{"preciousblock.http", regtest, `{"id":1,"method":"preciousblock","params":["` + tip + `"]}`},
		{"regtest-getblockhash-outofrange.http", regtest, `{"id":1,"method":"getblockhash","params":[99999]}`},
		{"regtest-getblocktemplate-norules.http", regtest, `{"id":1,"method":"getblocktemplate","params":[]}`},
		{"signet-getblocktemplate-without-signet-rule.http", signet, `{"id":1,"method":"getblocktemplate","params":[{"rules":["segwit"]}]}`},
		{"main-getblocktemplate-error-not-connected.http", main, `{"id":1,"method":"getblocktemplate","params":[{"rules":["segwit"]}]}`},
		{"submitblock-garbage.http", regtest, `{"id":1,"method":"submitblock","params":["00"]}`},
		{"regtest-validateaddress-bech32.http", regtest, `{"id":1,"method":"validateaddress","params":["bcrt1q7v96qwscwmmy7q5sjvw8rawgvxl0gamx6xlltt"]}`},
		{"regtest-validateaddress-p2tr.http", regtest, `{"id":1,"method":"validateaddress","params":["bcrt1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqc8gma6"]}`},
		{"regtest-validateaddress-othernet.http", regtest, `{"id":1,"method":"validateaddress","params":["bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"]}`},
	} {
		want := recorded(t, c.file)
		got, err := c.node.post(t, c.node.Authorization(), c.body)
		if err != nil {
			t.Fatal(err)
		}
		if got.status != want.status || got.body != want.body {
			t.Errorf("%s: %d %s", c.file, got.status, got.body)
		}
	}
	for _, auth := range []string{"", "Basic d3Jvbmc6d3Jvbmc="} {
		want := recorded(t, "error-401.http")
		got, err := regtest.post(t, auth, `{"id":1,"method":"getblockcount","params":[]}`)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"Www-Authenticate", "Content-Length", "Content-Type"} {
			if got.header.Get(name) != want.header.Get(name) {
				t.Errorf("401: %s is %q, want %q", name, got.header.Get(name), want.header.Get(name))
			}
		}
		if got.status != want.status || got.body != "" {
			t.Errorf("auth %q: %d %s", auth, got.status, got.body)
		}
	}
}

func TestLongPollWaitsForTheTip(t *testing.T) {
	n := start(t, Config{Transactions: 3})
	id := n.getTemplate(t).LongPollID
	got := make(chan templateResult)
	go func() { got <- n.getTemplate(t, id) }()
	eventually(t, func() bool { return n.Calls("getblocktemplate") == 2 })
	select {
	case r := <-got:
		t.Fatalf("answered without a new tip: %v", r.LongPollID)
	case <-time.After(50 * time.Millisecond):
	}
	hash := n.NewBlock()
	if r := <-got; r.Previous != hash || !strings.HasPrefix(r.LongPollID, hash) {
		t.Errorf("answered with a template on %s", r.Previous)
	}
}

func TestFaults(t *testing.T) {
	n := start(t, Config{})
	for _, c := range []struct {
		kind   FaultKind
		status int
		code   int
		body   string
	}{
		{WarmingUp, 500, -28, ""},
		{Downloading, 500, -10, ""},
		{NotConnected, 500, -9, ""},
		{Unauthorized, 401, 0, ""},
		{Forbidden, 403, 0, ""},
		{WorkQueue, 503, 0, "Work queue depth exceeded"},
	} {
		n.SetFault(Fault{Kind: c.kind, Times: 1})
		got := n.rpc(t, "getblocktemplate", segwitRules)
		if got.status != c.status || got.code != c.code || c.code == 0 && got.body != c.body {
			t.Errorf("fault %d: %d %s", c.kind, got.status, got.body)
		}
		if got := n.rpc(t, "getblocktemplate", segwitRules); got.status != 200 {
			t.Errorf("fault %d did not clear itself: %s", c.kind, got.body)
		}
	}
	for _, kind := range []FaultKind{Cut, Truncated} {
		n.SetFault(Fault{Kind: kind, Times: 1, Methods: []string{"getblockcount"}})
		if got := n.rpc(t, "getbestblockhash"); got.status != 200 {
			t.Errorf("fault %d hits another method", kind)
		}
		if a, err := n.post(t, n.Authorization(), `{"id":1,"method":"getblockcount","params":[]}`); err == nil {
			t.Errorf("fault %d: %v", kind, a)
		}
	}
	n.SetFault(Fault{Kind: Hang})
	got := make(chan answer)
	go func() { got <- n.rpc(t, "getblockcount") }()
	select {
	case <-got:
		t.Error("hanging node answered")
	case <-time.After(50 * time.Millisecond):
	}
	n.ClearFault()
	if a := <-got; string(a.result) != "1000" {
		t.Errorf("after the hang: %s", a.body)
	}
	n.SetChain("test")
	var info struct{ Chain string }
	if err := json.Unmarshal(n.rpc(t, "getblockchaininfo").result, &info); err != nil || info.Chain != "test" {
		t.Errorf("chain %q", info.Chain)
	}
	want, err := os.ReadFile("testdata/core/regtest-getblockchaininfo.http")
	if err != nil {
		t.Fatal(err)
	}
	n.Replay("getblockchaininfo", want)
	if a := n.rpc(t, "getblockchaininfo"); !strings.Contains(a.body, "79e171b7") {
		t.Errorf("replay: %s", a.body)
	}
}

func TestCookieRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".cookie")
	n := start(t, Config{CookieFile: path})
	call := func() int {
		cookie, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+n.Addr(), strings.NewReader(`{"method":"getblockcount"}`))
		if err != nil {
			t.Fatal(err)
		}
		user, pass, _ := strings.Cut(string(cookie), ":")
		if user != "__cookie__" || len(pass) != 64 {
			t.Errorf("cookie %q", cookie)
		}
		req.SetBasicAuth(user, pass)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if call() != 200 {
		t.Error("cookie refused")
	}
	if err := n.RotateCookie(); err != nil {
		t.Fatal(err)
	}
	if call() != 200 {
		t.Error("new cookie refused")
	}
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	if call() != 401 {
		t.Error("old cookie still taken")
	}
}

func TestTemplatesOfManyTransactions(t *testing.T) {
	n := start(t, Config{Transactions: 10_000, Bits: 0x1d00ffff, Version: 0x30000000})
	r := n.getTemplate(t)
	if len(r.Transactions) != 10_000 || r.Version != 0x30000000 || r.Bits != "1d00ffff" {
		t.Fatalf("%d transactions, version %08x, bits %s", len(r.Transactions), r.Version, r.Bits)
	}
	weight, ids := 0, map[string]bool{}
	for _, tx := range r.Transactions {
		weight += tx.Weight
		ids[tx.TxID] = true
	}
	if len(ids) != 10_000 {
		t.Errorf("%d different transactions", len(ids))
	}
	if weight > 3_990_000 {
		t.Errorf("weight %d does not fit a block", weight)
	}
	full := start(t, Config{Transactions: 4000}).getTemplate(t)
	weight = 0
	segwit := 0
	for _, tx := range full.Transactions {
		weight += tx.Weight
		if tx.TxID != tx.Hash {
			segwit++
		}
	}
	if weight < 2_500_000 || weight > 3_990_000 {
		t.Errorf("4000 transactions weigh %d", weight)
	}
	if segwit < 3000 || segwit == 4000 {
		t.Errorf("%d of 4000 transactions have a witness", segwit)
	}
	mine(t, full, nil) // checks txids, hashes and weights
}
