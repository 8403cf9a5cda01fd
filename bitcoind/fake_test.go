package bitcoind

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/source"
)

// fakeNode is a node inside a test's bubble: no sockets, so that virtual time
// passes. The zero hash of a block's parent is the genesis block's.
type fakeNode struct {
	mu        sync.Mutex
	chain     string
	blocks    [][32]byte // active chain, by height
	work      int64      // of each block, 0: no chainwork in answers
	seed      byte       // makes blocks of different nodes different
	templates [][32]byte // what templates build on, where that is not blocks

	fail       map[string]error          // by method, "" all: the connection breaks
	answer     map[string]string         // by method: HTTP status and body, "503 text"
	delay      map[string]time.Duration  // by method
	hang       map[string]bool           // by method, "" all
	verdict    []string                  // of submitblock, one after the other; the last stays
	onBlock    func()                    // after a submission
	submitted  []byte                    // the last one
	onSubmit   func(block []byte) string // gives the verdict, with mu held; nil: verdict does
	early      bool                      // answers are as old as their requests
	noLongPoll bool
	late       time.Duration // how long a long poll's answer takes to begin, after news
	reading    time.Duration // and then to be there
	ibd        string        // initialblockdownload, "" not told
	calls      []string
	changed    chan struct{}
}

func newFakeNode(heights int) *fakeNode {
	f := &fakeNode{
		chain: "regtest", work: 2, fail: map[string]error{}, answer: map[string]string{},
		delay: map[string]time.Duration{}, hang: map[string]bool{},
	}
	for h := range heights {
		f.blocks = append(f.blocks, blockID(h, 0))
	}
	return f
}

func blockID(height int, seed byte) [32]byte {
	return [32]byte{0: byte(height), 1: byte(height >> 8), 2: 0xb1, 3: seed, 31: 0}
}

// set changes the node and wakes long polls.
func (f *fakeNode) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
}

// drop gives up the newest n blocks.
func (f *fakeNode) drop(n int) {
	f.set(func() { f.blocks = f.blocks[:len(f.blocks)-n] })
}

func (f *fakeNode) height() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.blocks) - 1
}

func (f *fakeNode) best() [32]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tip()
}

// follow takes over another node's chain if it is longer.
func (f *fakeNode) follow(other *fakeNode) {
	other.mu.Lock()
	blocks := slices.Clone(other.blocks)
	other.mu.Unlock()
	f.set(func() {
		if len(blocks) > len(f.blocks) {
			f.blocks = blocks
		}
	})
}

// heal ends all that is wrong with the node.
func (f *fakeNode) heal() {
	f.set(func() {
		clear(f.fail)
		clear(f.answer)
		clear(f.hang)
	})
}

// say makes the node answer method with an HTTP status and body, "" as usual.
func (f *fakeNode) say(method, answer string) {
	f.set(func() {
		delete(f.answer, method)
		if answer != "" {
			f.answer[method] = answer
		}
	})
}

func (f *fakeNode) mine() { f.add(blockID(len(f.blocks), f.seed)) }

func (f *fakeNode) add(hash [32]byte) {
	f.set(func() { f.blocks = append(f.blocks, hash) })
}

func (f *fakeNode) count(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, c := range f.calls {
		if c == method {
			n++
		}
	}
	return n
}

// dead makes every connection fail, nil makes the node live again.
func (f *fakeNode) dead(err error) { f.set(func() { f.fail[""] = err }) }

func (f *fakeNode) RoundTrip(r *http.Request) (*http.Response, error) {
	var request struct {
		ID     json.RawMessage   `json:"id"`
		Method string            `json:"method"`
		Params []json.RawMessage `json:"params"`
	}
	body, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, err
	}
	call := request.Method
	if strings.Contains(string(body), "longpollid") {
		call = "longpoll"
	}
	if len(request.Params) > 0 && (string(request.Params[0]) == `"`+noBlock+`"` || string(request.Params[0]) == quoted([32]byte{})) {
		call = "no block"
	}
	f.mu.Lock()
	f.calls = append(f.calls, call)
	if call == "submitblock" {
		f.submitted = submittedBlock(request.Params)
	}
	delay := f.delay[request.Method]
	hang := f.hang[request.Method] || f.hang[""]
	early := f.early && call != "longpoll"
	status, result := f.reply(request.Method, request.Params, early)
	f.mu.Unlock()
	if hang {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if call == "longpoll" {
		if err := f.longPoll(r.Context(), request.Params); err != nil {
			return nil, err
		}
		if err := f.begin(r.Context()); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	for _, m := range []string{"", request.Method} {
		if err := f.fail[m]; err != nil {
			f.mu.Unlock()
			return nil, err
		}
	}
	if !early {
		status, result = f.reply(request.Method, request.Params, true)
	}
	after := f.onBlock
	f.mu.Unlock()
	if call == "submitblock" && after != nil {
		after()
	}
	if status == 200 {
		result = fmt.Sprintf(`{"result":%s,"error":null,"id":%s}`, result, request.ID)
	} else if strings.HasPrefix(result, "{") {
		result = fmt.Sprintf(`{"result":null,"error":%s,"id":%s}`, result, request.ID)
	}
	return &http.Response{StatusCode: status, ContentLength: int64(len(result)), Body: io.NopCloser(strings.NewReader(result))}, nil
}

// begin is the first byte of an answer, and the time before and after it.
func (f *fakeNode) begin(ctx context.Context) error {
	f.mu.Lock()
	late, reading := f.late, f.reading
	f.mu.Unlock()
	sleep(ctx, late, nil)
	if ctx.Err() == nil {
		httptrace.ContextClientTrace(ctx).GotFirstResponseByte()
		sleep(ctx, reading, nil)
	}
	return ctx.Err()
}

func (f *fakeNode) longPoll(ctx context.Context, params []json.RawMessage) error {
	var p struct{ LongPollID string }
	if err := json.Unmarshal(params[0], &p); err != nil {
		return err
	}
	for {
		f.mu.Lock()
		same := p.LongPollID == f.longPollID() && f.fail[""] == nil
		changed := f.changed
		f.mu.Unlock()
		if !same {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *fakeNode) longPollID() string { return displayHash(f.tip()).String() + "1" }

func (f *fakeNode) tip() [32]byte { return f.blocks[len(f.blocks)-1] }

// reply is the node's answer as things are now, nothing unless it is due.
func (f *fakeNode) reply(method string, params []json.RawMessage, due bool) (int, string) {
	if !due {
		return 0, ""
	}
	if text, ok := f.answer[method]; ok {
		var status int
		fmt.Sscan(text, &status)
		return status, text[4:]
	}
	height := len(f.blocks) - 1
	switch method {
	case "getblocktemplate":
		on := f.blocks
		if f.templates != nil {
			on = f.templates
		}
		return 200, templateJSON(on[len(on)-1], len(on), f.longPollID(), f.noLongPoll)
	case "getbestblockhash":
		return 200, quoted(f.tip())
	case "getblockcount":
		return 200, fmt.Sprint(height)
	case "getblockchaininfo":
		work := ""
		if f.work > 0 {
			work = fmt.Sprintf(`,"chainwork":"%064x"`, big.NewInt(f.work*int64(len(f.blocks))))
		}
		return 200, fmt.Sprintf(`{"chain":%q,"blocks":%d,"headers":%d,"bestblockhash":%s%s%s}`, f.chain, height, height, quoted(f.tip()), work, f.ibd)
	case "getblockhash":
		var h int
		_ = json.Unmarshal(params[0], &h)
		if h >= len(f.blocks) {
			return 500, `{"code":-8,"message":"Block height out of range"}`
		}
		return 200, quoted(f.blocks[h])
	case "submitblock":
		verdict := "null"
		if string(params[0]) == `"`+noBlock+`"` {
			return 500, `{"code":-22,"message":"Block decode failed"}`
		}
		if f.onSubmit != nil {
			if verdict = f.onSubmit(submittedBlock(params)); verdict != "null" {
				verdict = fmt.Sprintf("%q", verdict)
			}
			return 200, verdict
		}
		if len(f.verdict) > 0 {
			if verdict = f.verdict[0]; verdict != "null" {
				verdict = fmt.Sprintf("%q", verdict)
			}
			if len(f.verdict) > 1 {
				f.verdict = f.verdict[1:]
			}
		}
		return 200, verdict
	case "preciousblock":
		return 200, "null"
	case "getnetworkinfo":
		return 200, `{"subversion":"/Satoshi:31.0.0/"}`
	}
	return 404, `{"code":-32601,"message":"Method not found"}`
}

// submittedBlock is what submitblock is called with, nil if that is no hex.
func submittedBlock(params []json.RawMessage) []byte {
	var text string
	_ = json.Unmarshal(params[0], &text)
	block, err := hex.DecodeString(text)
	if err != nil {
		return nil
	}
	return block
}

func quoted(hash [32]byte) string { return `"` + displayHash(hash).String() + `"` }

func templateJSON(prev [32]byte, height int, longPollID string, noLongPoll bool) string {
	if noLongPoll {
		longPollID = ""
	}
	return fmt.Sprintf(`{"version":536870912,"rules":["csv","!segwit","taproot"],"vbavailable":{},"vbrequired":0,`+
		`"previousblockhash":%s,"transactions":[],"coinbaseaux":{},"coinbasevalue":5000000000,"longpollid":%q,`+
		`"target":"7fffff0000000000000000000000000000000000000000000000000000000000","mintime":1795332000,`+
		`"curtime":1795332536,"bits":"207fffff","height":%d}`, quoted(prev), longPollID, height)
}

// harness is a running group of fake nodes.
type harness struct {
	*Group
	t     *testing.T
	fakes []*fakeNode
	mu    sync.Mutex
	log   []event.Event
}

// inBubble runs test with virtual time and a group of the nodes, named a:1,
// b:1 and so on.
func inBubble(t *testing.T, o Options, test func(h *harness), fakes ...*fakeNode) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, o, fakes...)
		h.run(func() { test(h) })
	})
}

// run does test while the group runs.
func (h *harness) run(test func()) {
	ctx, cancel := context.WithCancel(h.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			h.t.Errorf("Run: %v", err)
		}
	}()
	test()
}

func newHarness(t *testing.T, o Options, fakes ...*fakeNode) *harness {
	h := &harness{t: t, fakes: fakes}
	o.Events = func(e event.Event) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.log = append(h.log, e)
	}
	var configs []Config
	for i := range fakes {
		configs = append(configs, Config{URL: string(rune('a'+i)) + ":1"})
	}
	g, err := NewGroup(configs, o)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range fakes {
		f.changed = make(chan struct{}) // of the bubble
		c := g.nodes[i].client
		c.longPolls, c.submissions, c.others = f, f, f
	}
	h.Group = g
	return h
}

// next returns the next update, which must come within d.
func (h *harness) next(d time.Duration) source.Update {
	h.t.Helper()
	select {
	case u := <-h.Templates():
		return u
	case <-time.After(d):
		h.t.Fatalf("no template within %v; events:\n%s", d, h.events())
		return source.Update{}
	}
}

// silent fails if an update comes within d.
func (h *harness) silent(d time.Duration) {
	h.t.Helper()
	select {
	case u := <-h.Templates():
		h.t.Fatalf("unexpected template of %s at height %d, new tip %v; events:\n%s", u.From, u.Template.Height, u.NewTip, h.events())
	case <-time.After(d):
	}
}

// expect checks the next update.
func (h *harness) expect(d time.Duration, node string, height int, newTip bool) {
	h.t.Helper()
	u := h.next(d)
	if u.From != node || u.Template.Height != int64(height) || u.NewTip != newTip {
		h.t.Fatalf("template of %s at height %d, new tip %v; want %s, %d, %v; events:\n%s",
			u.From, u.Template.Height, u.NewTip, node, height, newTip, h.events())
	}
}

func (h *harness) events() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b strings.Builder
	for _, e := range h.log {
		fmt.Fprintln(&b, e.Level, e.Text)
	}
	return b.String()
}

// said counts events that contain text, above debugging.
func (h *harness) said(text string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, e := range h.log {
		if e.Level < event.Debug && strings.Contains(e.Text, text) {
			n++
		}
	}
	return n
}

func (h *harness) state(i int) string {
	return h.Status()[i].State
}

func (h *harness) wantSaid(n int, text string) {
	h.t.Helper()
	synctest.Wait() // events follow updates
	if got := h.said(text); got != n {
		h.t.Errorf("said %d times, want %d: %q; events:\n%s", got, n, text, h.events())
	}
}

var errRefused = &refusedError{}

type refusedError struct{}

func (*refusedError) Error() string {
	return "dial tcp 127.0.0.1:45678->127.0.0.1:8332: connect: connection refused"
}
func (*refusedError) Unwrap() error { return syscall.ECONNREFUSED }

// recorded is a real node's HTTP answer.
func recorded(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "core", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// recordedNode answers everything with one recorded answer.
type recordedNode struct {
	t    testing.TB
	name string
}

func (n recordedNode) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r.Body.Close()
	}
	return http.ReadResponse(bufio.NewReader(bytes.NewReader(recorded(n.t, n.name))), r)
}

// clientOf is a client whose node always gives the recorded answer.
func clientOf(t testing.TB, name string) *Client {
	c := NewClient(Config{URL: "node:8332", User: "u", Pass: "p"}, Options{})
	n := recordedNode{t, name}
	c.longPolls, c.submissions, c.others = n, n, n
	return c
}

func hashOf(t testing.TB, display string) [32]byte {
	t.Helper()
	var h displayHash
	if err := h.UnmarshalText([]byte(display)); err != nil {
		t.Fatal(err)
	}
	return h
}

func reversed(b []byte) []byte {
	b = slices.Clone(b)
	slices.Reverse(b)
	return b
}
