package bitcoind

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ckpool/ckpool/internal/testkit/port"
)

func TestRecordedAnswers(t *testing.T) {
	const best = "79e171b7d0ddac7102f7c70fabbcd4220b8ed4434d5a8f56593ee411f03b1550"
	ctx := t.Context()
	hash, err := clientOf(t, "regtest-getbestblockhash.http").BestBlockHash(ctx)
	if err != nil || displayHash(hash).String() != best || hash[31] != 0x79 {
		t.Errorf("%x, %v", hash, err)
	}
	hash, err = clientOf(t, "regtest-getblockhash.http").BlockHash(ctx, 432)
	if err != nil || hash != hashOf(t, best) {
		t.Errorf("%x, %v", hash, err)
	}
	for name, want := range map[string]struct {
		chain  string
		blocks int64
		work   string
		ibd    bool
	}{
		"regtest-getblockchaininfo.http":  {"regtest", 432, "362", false},
		"main-getblockchaininfo.http":     {"main", 0, "100010001", true},
		"testnet4-getblockchaininfo.http": {"testnet4", 0, "100010001", true},
	} {
		info, err := clientOf(t, name).ChainInfo(ctx)
		if err != nil || info.Chain != want.chain || info.Blocks != want.blocks || info.Headers != want.blocks ||
			info.ChainWork.Text(16) != want.work || info.InitialBlockDownload == nil || *info.InitialBlockDownload != want.ibd {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
	for name, want := range map[string]AddressInfo{
		"regtest-validateaddress-bech32.http":   {Valid: true, Script: []byte("\x00\x14\xf3\x0b\xa0\x3a\x18\x76\xf6\x4f\x02\x90\x93\x1c\x71\xf5\xc8\x61\xbe\xf4\x77\x66")},
		"regtest-validateaddress-invalid.http":  {Error: "Invalid checksum or length of Base58 address (P2PKH or P2SH)"},
		"regtest-validateaddress-othernet.http": {Error: "Invalid or unsupported Segwit (Bech32) or Base58 encoding."},
	} {
		info, err := clientOf(t, name).ValidateAddress(ctx, "x")
		if diff := cmp.Diff(want, info); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
	for name, want := range map[string]string{
		"preciousblock.http":            "",
		"submitblock-duplicate.http":    "duplicate",
		"submitblock-high-hash.http":    "high-hash",
		"submitblock-bad-merkle.http":   "bad-txnmrklroot",
		"regtest-getbestblockhash.http": best,
	} {
		if verdict, err := clientOf(t, name).SubmitBlock(ctx, []byte{1}); err != nil || verdict != want {
			t.Errorf("%s: %q, %v", name, verdict, err)
		}
	}
}

func TestRecordedErrors(t *testing.T) {
	for name, want := range map[string]RPCError{
		"error-401.http":                                 {0, "Unauthorized", 401},
		"error-parse.http":                               {-32700, "Parse error", 500},
		"error-unknown-method.http":                      {-32601, "Method not found", 404},
		"error-unknown-method-jsonrpc2.http":             {-32601, "Method not found", 200},
		"regtest-getblockhash-outofrange.http":           {-8, "Block height out of range", 500},
		"preciousblock-unknown.http":                     {-5, "Block not found", 500},
		"submitblock-garbage.http":                       {-22, "Block decode failed", 500},
		"main-getblocktemplate-error-not-connected.http": {-9, "Bitcoin Core is not connected!", 500},
		"regtest-getblocktemplate-norules.http": {-8,
			`getblocktemplate must be called with the segwit rule set (call with {"rules": ["segwit"]})`, 500},
	} {
		c := clientOf(t, name)
		for call, err := range map[string]error{
			"call":     c.Call(t.Context(), nil, "x"),
			"template": func() error { c.ids.Store(0); _, err := c.Template(t.Context(), ""); return err }(),
		} {
			e, ok := errors.AsType[*RPCError](err)
			if !ok || *e != want {
				t.Errorf("%s by %s: %v, want %+v", name, call, err, want)
			}
			if err != nil && !strings.HasPrefix(err.Error(), "bitcoind node:8332: ") {
				t.Errorf("%s: no place in %q", name, err)
			}
		}
	}
}

func TestRecordedTemplates(t *testing.T) {
	for name, want := range map[string]struct {
		height int64
		txs    int
	}{
		"regtest-getblocktemplate-0tx.http":             {433, 0},
		"regtest-getblocktemplate-1tx.http":             {564, 1},
		"regtest-getblocktemplate-400tx.http":           {0, 400},
		"regtest-getblocktemplate-longpoll-answer.http": {0, 0},
		"signet-getblocktemplate.http":                  {1, 0},
		"testnet4-getblocktemplate.http":                {1, 0},
	} {
		tmpl, err := clientOf(t, name).Template(t.Context(), "")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if want.height != 0 && tmpl.Height != want.height || tmpl.TxCount() != want.txs {
			t.Errorf("%s: height %d with %d transactions", name, tmpl.Height, tmpl.TxCount())
		}
	}
}

// The id of a template's answer is checked wherever it stands.
func TestTemplateID(t *testing.T) {
	_, body, _ := strings.Cut(string(recorded(t, "regtest-getblocktemplate-1tx.http")), "\r\n\r\n")
	result := body[:strings.LastIndex(body, `,"error"`)] // the first member
	for end, want := range map[string]string{
		`,"error":null,"id":1}`:    "",
		`,"id":1,"jsonrpc":"2.0"}`: "",
		`,"id":"1","error":null}`:  "",
		`,"error":null}`:           "",
		`,"id":2,"jsonrpc":"2.0"}`: "the answer has id 2, not 1: it belongs to another request",
		`,"error":{}}`:             "error 0",
	} {
		s := httptestServer(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, result+end) })
		tmpl, err := NewClient(Config{URL: s.Listener.Addr().String()}, Options{}).Template(t.Context(), "")
		if want == "" && (err != nil || tmpl == nil) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", end, err)
		}
	}
}

// httptestServer is a node on a real socket.
func httptestServer(t testing.TB, handle http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return s
}

type rpcRequest struct {
	Version string            `json:"jsonrpc"`
	ID      uint64            `json:"id"`
	Method  string            `json:"method"`
	Params  []json.RawMessage `json:"params"`
}

func readRequest(r *http.Request) (rpcRequest, error) {
	var request rpcRequest
	return request, json.NewDecoder(r.Body).Decode(&request)
}

// What goes over the wire: node, path, credentials, JSON-RPC.
func TestRequests(t *testing.T) {
	var got rpcRequest
	s := httptestServer(t, func(w http.ResponseWriter, r *http.Request) {
		user, pass, _ := r.BasicAuth()
		if user != "Jürgen" || pass != `p:ä"\` {
			t.Errorf("user %q, password %q", user, pass)
		}
		if r.Method != "POST" || r.URL.Path != "/wallet/x" || r.Header.Get("Content-Type") != "application/json" ||
			r.Header.Get("Accept-Encoding") != "" || r.ContentLength <= 0 || r.Header.Get("Idempotency-Key") != "" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
		var err error
		if got, err = readRequest(r); err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, `{"result":{"isvalid":false},"error":null,"id":%d}`, got.ID)
	})
	c := NewClient(Config{URL: s.URL + "/wallet/x", User: "Jürgen", Pass: `p:ä"\`}, Options{})
	defer c.Close()
	if _, err := c.ValidateAddress(t.Context(), `a"b`); err != nil {
		t.Fatal(err)
	}
	want := rpcRequest{"1.0", 1, "validateaddress", []json.RawMessage{json.RawMessage(`"a\"b"`)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	_, _ = c.Template(t.Context(), "")
	want = rpcRequest{"1.0", 2, "getblocktemplate", []json.RawMessage{json.RawMessage(`{"rules":["segwit","signet"],"capabilities":["longpoll"]}`)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	_, _ = c.Template(t.Context(), "abc1")
	if string(got.Params[0]) != `{"rules":["segwit","signet"],"capabilities":["longpoll"],"longpollid":"abc1"}` {
		t.Errorf("%s", got.Params[0])
	}
	_, _ = c.SubmitBlock(t.Context(), []byte{0xab, 0x01})
	if got.Method != "submitblock" || string(got.Params[0]) != `"ab01"` {
		t.Errorf("%+v", got)
	}
}

// answers serves connections with fixed answers, one connection after another.
func answers(t *testing.T, serve func(connection int, r *bufio.Reader, w net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(n, bufio.NewReader(conn), conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	return l.Addr().String()
}

// What a node may have done it is not asked for again.
func TestSentOnce(t *testing.T) {
	var sent atomic.Int32
	addr := answers(t, func(_ int, r *bufio.Reader, w net.Conn) {
		for {
			request, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			rpc, err := readRequest(request)
			if err != nil {
				t.Error(err)
			}
			if rpc.Method == "sendtoaddress" {
				sent.Add(1)
				return // it is done, and not answered
			}
			body := fmt.Sprintf(`{"result":1,"error":null,"id":%d}`, rpc.ID)
			fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	})
	c := NewClient(Config{URL: addr}, Options{})
	defer c.Close()
	if _, err := c.BlockCount(t.Context()); err != nil { // its connection is kept open
		t.Fatal(err)
	}
	if err := c.Call(t.Context(), nil, "sendtoaddress", "bcrt1q", 1); err == nil {
		t.Error("there is an answer")
	}
	if n := sent.Load(); n != 1 {
		t.Errorf("the node was asked for the payment %d times", n)
	}
}

// A node closes idle connections. What was sent into one is sent again.
func TestStaleConnection(t *testing.T) {
	var connections atomic.Int32
	addr := answers(t, func(n int, r *bufio.Reader, w net.Conn) {
		connections.Add(1)
		for range 2 {
			request, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			rpc, err := readRequest(request)
			if err != nil {
				t.Error(err)
			}
			body := fmt.Sprintf(`{"result":%d,"error":null,"id":%d}`, n, rpc.ID)
			fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
		_, _ = http.ReadRequest(r) // read, not answered
	})
	c := NewClient(Config{URL: addr}, Options{})
	defer c.Close()
	for want := range 6 {
		got, err := c.BlockCount(t.Context())
		if err != nil || got != int64(want/2) {
			t.Errorf("%d, %v; want the answer of connection %d", got, err, want/2)
		}
	}
	if n := connections.Load(); n != 3 {
		t.Errorf("%d connections for 6 calls", n)
	}
}

// A node that closes fresh connections is not asked for ever.
func TestClosedConnection(t *testing.T) {
	var connections atomic.Int32
	addr := answers(t, func(n int, r *bufio.Reader, w net.Conn) {
		connections.Add(1)
		_, _ = http.ReadRequest(r)
	})
	c := NewClient(Config{URL: addr}, Options{})
	_, err := c.BlockCount(t.Context())
	if p := c.explain(err); !p.gone || connections.Load() != 1 {
		t.Errorf("%v: %+v, %d connections", err, p, connections.Load())
	}
}

// btcd tells no length and closes the connection; HTTP status 200 covers errors.
func TestAnswersWithoutLength(t *testing.T) {
	raw := recorded(t, "regtest-getblocktemplate-400tx.http")
	_, body, _ := strings.Cut(string(raw), "\r\n\r\n")
	addr := answers(t, func(n int, r *bufio.Reader, w net.Conn) {
		request, err := http.ReadRequest(r)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.Copy(io.Discard, request.Body)
		b := body
		if n == 2 {
			b = b[:len(b)/2]
		}
		if n == 3 {
			b = `{"jsonrpc":"1.0","result":null,"error":{"code":-10,"message":"Bitcoin is downloading blocks..."},"id":4}`
		}
		fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%s", b)
	})
	c := NewClient(Config{URL: addr}, Options{})
	for n := range 2 {
		c.ids.Store(0)
		tmpl, err := c.Template(t.Context(), "")
		if err != nil || tmpl.TxCount() != 400 {
			t.Fatalf("%d: %v", n, err)
		}
	}
	c.ids.Store(0)
	_, err := c.Template(t.Context(), "")
	if _, ok := errors.AsType[*templateError](err); !ok {
		t.Errorf("half an answer: %v", err)
	}
	c.ids.Store(3)
	_, err = c.Template(t.Context(), "")
	if e, ok := errors.AsType[*RPCError](err); !ok || e.Code != -10 {
		t.Errorf("%v", err)
	}
}

func TestUnusableAnswers(t *testing.T) {
	var body string
	var status int
	s := httptestServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	})
	for _, test := range []struct {
		status     int
		body, want string
	}{
		{200, `{"result":1,"error":null,"id":9}`, "the answer has id 9, not 1: it belongs to another request"},
		{200, `{"result":1,"error":null}`, "the answer has id (none), not 1"},
		{200, `{"error":null,"id":1}`, "neither result nor error"},
		{200, `<html>`, "not JSON: is this the RPC port of a bitcoin node?"},
		{200, ``, "not JSON"},
		{200, `{"result":{},"error":null,"id":1}`, "unexpected result: "},
		{200, `{"result":null,"error":"oops","id":1}`, `error 0: "oops"`},
		{500, `{"result":null,"error":{"code":-1,"message":"x"},"id":2}`, "the answer has id 2, not 1"},
		{500, `{"result":null,"error":{"code":-1,"message":"x"},"id":null}`, "error -1: x"},
		{503, "Work queue depth exceeded", "HTTP 503: Work queue depth exceeded"},
		{403, "", "HTTP 403: Forbidden"},
		{404, "<html>\n<b>", "HTTP 404: <html>"},
		{302, "", "HTTP 302: Found"},
	} {
		status, body = test.status, test.body
		c := NewClient(Config{URL: s.URL}, Options{})
		if _, err := c.BlockCount(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%d %q: %v, want %s", test.status, test.body, err, test.want)
		}
		c.Close()
	}
	status, body = 200, `{"result":null,"error":null,"id":1}`
	c := NewClient(Config{URL: s.URL}, Options{})
	defer c.Close()
	if _, err := c.BestBlockHash(t.Context()); err == nil || !strings.Contains(err.Error(), "not a hash") {
		t.Error(err)
	}
	for _, body = range []string{
		`{"result":{"previousblockhash":"x"},"error":null,"id":7}`,
		`{"result":{"previousblockhash":"x"},"id":7}` + "\n",
	} {
		c.ids.Store(0)
		if _, err := c.Template(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "the answer has id 7, not 1") {
			t.Error(err)
		}
	}
}

// A template request that hangs delays neither submission nor other calls, and
// each has its own time limit.
func TestSeparateLimits(t *testing.T) {
	release := make(chan struct{})
	s := httptestServer(t, func(w http.ResponseWriter, r *http.Request) {
		rpc, err := readRequest(r)
		if err != nil {
			return
		}
		if rpc.Method == "getblocktemplate" || rpc.Method == "hang" {
			select {
			case <-release:
			case <-r.Context().Done():
			}
			return
		}
		fmt.Fprintf(w, `{"result":null,"error":null,"id":%d}`, rpc.ID)
	})
	defer close(release)
	c := NewClient(Config{URL: s.URL}, Options{TemplateTimeout: 300 * time.Millisecond, Timeout: 200 * time.Millisecond})
	defer c.Close()
	hanging := make(chan error, 20)
	for range 10 {
		go func() {
			_, err := c.Template(t.Context(), "")
			hanging <- err
		}()
		go func() { hanging <- c.Call(t.Context(), nil, "hang") }()
	}
	if verdict, err := c.SubmitBlock(t.Context(), []byte{1}); err != nil || verdict != "" {
		t.Errorf("submission behind hanging calls: %q, %v", verdict, err)
	}
	for range 20 {
		err := <-hanging
		if err == nil || !strings.Contains(err.Error(), "no answer within ") {
			t.Errorf("%v", err)
		}
		if p := c.explain(err); !p.gone || p.kind != kindTimeout {
			t.Errorf("%+v", p)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Template(ctx, "id"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A node that restarts writes a new cookie; the client follows without a
// failed call.
func TestCookieRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".cookie")
	var accepted atomic.Value
	var refusals atomic.Int32
	s := httptestServer(t, func(w http.ResponseWriter, r *http.Request) {
		want := "Basic " + base64.StdEncoding.EncodeToString([]byte(accepted.Load().(string)))
		if r.Header.Get("Authorization") != want {
			refusals.Add(1)
			w.WriteHeader(401)
			return
		}
		rpc, _ := readRequest(r)
		fmt.Fprintf(w, `{"result":5,"error":null,"id":%d}`, rpc.ID)
	})
	c := NewClient(Config{URL: s.URL, Cookie: path}, Options{})
	defer c.Close()
	if _, err := c.BlockCount(t.Context()); err == nil || c.explain(err).state != stateNotAsked || refusals.Load() != 0 {
		t.Errorf("without a cookie: %v", err)
	}
	modified := time.Unix(1.7e9, 0)
	for n := range 3 {
		cookie := fmt.Sprintf("__cookie__:%064d", n)
		accepted.Store(cookie)
		// The time stays the same: 401 alone tells.
		writeCookie(t, path, cookie, modified)
		if _, err := c.BlockCount(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n := refusals.Load(); n != 2 {
		t.Errorf("%d refusals", n)
	}
	accepted.Store("other")
	_, err := c.BlockCount(t.Context())
	if p := c.explain(err); p.kind != kindPassword || !strings.Contains(p.reason, "is "+path+" the cookie file of this node?") {
		t.Errorf("%+v", p)
	}
	if n := refusals.Load(); n != 3 {
		t.Errorf("%d refusals: the same cookie was sent again", n)
	}
	os.Remove(path)
	if p := c.explain(&RPCError{Status: 401}); !strings.Contains(p.reason, "no such file") {
		t.Errorf("%+v", p)
	}
}

func TestConnectionProblems(t *testing.T) {
	closed, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	addr := "127.0.0.1:" + closed
	for url, want := range map[string]problem{
		addr:              {stateUnreachable, "connect", "nothing listens there (connection refused): is the node running with server=1, and is this its rpcport?", true},
		"name.invalid:1":  {stateUnreachable, "dns", "the name name.invalid cannot be resolved", true},
		"https://" + addr: {stateUnreachable, "connect", "nothing listens there", true},
	} {
		c := NewClient(Config{URL: url}, Options{})
		_, err := c.BlockCount(t.Context())
		p := c.explain(err)
		if !strings.HasPrefix(p.reason, want.reason) || p.state != want.state || p.kind != want.kind || p.gone != want.gone {
			t.Errorf("%s: %v: %+v", url, err, p)
		}
	}
	if err := NewClient(Config{URL: "h:0"}, Options{}).Call(t.Context(), nil, "x"); err == nil || !strings.Contains(err.Error(), `node url "h:0"`) {
		t.Error(err)
	}
	// Plain HTTP spoken to as TLS, and a certificate nobody knows.
	plain := httptestServer(t, func(http.ResponseWriter, *http.Request) {})
	secure := httptest.NewUnstartedServer(nil)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	for _, url := range []string{"https://" + plain.Listener.Addr().String(), secure.URL} {
		c := NewClient(Config{URL: url}, Options{})
		_, err := c.BlockCount(t.Context())
		if p := c.explain(err); p.state != stateUnreachable || !strings.HasPrefix(p.reason, "cannot be reached: ") {
			t.Errorf("%s: %+v", url, p)
		}
	}
}
