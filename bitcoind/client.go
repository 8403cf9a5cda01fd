package bitcoind

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/work"
)

// Longest replies read, in bytes. A template of a full block has about 4 MB of
// hex and as much again of other fields at worst. The longest other reply is a wallet's
// list of what it sent: about 1 kB for each output, so 100,000 payees.
const (
	maxTemplate = 64 << 20
	maxReply    = 128 << 20
)

// believed is how much memory is taken for a reply that was only announced; for a template
// it is there already, or needed in a moment.
const believed = 1 << 20

// Client is one node's RPC client; safe for concurrent use. Long polls,
// submissions and everything else have connections of their own, so that none
// waits for another. A template goes over a connection that polling keeps open.
type Client struct {
	// immutable
	name        string // host:port
	url         string
	err         error // what is wrong with the configuration
	options     Options
	credentials credentials
	longPolls   http.RoundTripper
	submissions http.RoundTripper
	others      http.RoundTripper

	ids          atomic.Uint64
	templateSize atomic.Int64           // of the newest template reply, in bytes
	room         atomic.Pointer[[]byte] // for the next one; nil: not prepared
}

// NewClient makes a client for one node. It does not connect; an unusable URL
// is reported by every call.
func NewClient(c Config, o Options) *Client {
	e, err := parseEndpoint(c.URL)
	if c.User == "" && c.Pass == "" {
		c.User, c.Pass = e.user, e.pass
	}
	return &Client{
		name:        e.host,
		url:         e.url,
		err:         err,
		options:     o.withDefaults(),
		credentials: credentials{user: c.User, pass: c.Pass, cookie: c.Cookie},
		// A long poll occupies one connection nearly all the time.
		longPolls:   newTransport(2, largeBuffer, smallBuffer),
		submissions: newTransport(4, smallBuffer, largeBuffer),
		others:      newTransport(6, largeBuffer, smallBuffer),
	}
}

// Buffers of a connection, in bytes: what goes over it in megabytes takes fewer
// system calls with a large one.
const (
	smallBuffer = 4 << 10
	largeBuffer = 64 << 10
)

func newTransport(connections, readBuffer, writeBuffer int) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	dialer := net.Dialer{
		Timeout: 5 * time.Second,
		// A long poll may be silent for hours: only these notice a dead peer.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	return &http.Transport{
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		MaxConnsPerHost:     connections,
		MaxIdleConnsPerHost: connections,
		IdleConnTimeout:     25 * time.Second, // Bitcoin Core closes idle ones after 30 s
		DisableCompression:  true,
		Protocols:           &protocols,
		ReadBufferSize:      readBuffer,
		WriteBufferSize:     writeBuffer,
	}
}

// Close closes idle connections. The client can still be used.
func (c *Client) Close() {
	for _, t := range []http.RoundTripper{c.longPolls, c.submissions, c.others} {
		if t, ok := t.(*http.Transport); ok {
			t.CloseIdleConnections()
		}
	}
}

// String is the node's host:port.
func (c *Client) String() string { return c.name }

// Call calls method with params, encoded as JSON, and decodes its result into
// result; nil ignores it. An error answer of the node is an *RPCError. What may not be
// done twice, such as sendtoaddress, is sent once: after another error nobody knows whether
// the node has done it. What only asks is sent again where the node has closed a connection
// that was kept open.
func (c *Client) Call(ctx context.Context, result any, method string, params ...any) error {
	return c.call(ctx, c.others, c.options.Timeout, result, method, params...)
}

func (c *Client) call(ctx context.Context, via http.RoundTripper, timeout time.Duration, result any, method string, params ...any) error {
	id := c.ids.Add(1)
	request, err := encodeRequest(id, method, params)
	if err != nil {
		return fmt.Errorf("%s: parameters: %w", method, err)
	}
	ctx, cancel := withTimeout(ctx, timeout)
	defer cancel()
	a, err := c.post(ctx, via, request, maxReply, repeatable(method))
	if err != nil {
		return c.wrap(method, err)
	}
	return c.wrap(method, a.decode(id, result))
}

// repeatable tells that a call does no harm when it is made twice.
func repeatable(method string) bool {
	switch method {
	case "submitblock", "preciousblock", "sendrawtransaction", "version",
		"walletcreatefundedpsbt", "walletprocesspsbt", "finalizepsbt", "psbtbumpfee", "lockunspent":
		return true
	}
	for _, asks := range []string{"get", "list", "estimate", "validate", "test", "decode"} {
		if strings.HasPrefix(method, asks) {
			return true
		}
	}
	return false
}

// Template asks for a block template, with the rules segwit and signet. With a
// longPollID (of an earlier template of the same node) the node answers when
// that template is outdated, and no timeout applies but ctx's.
func (c *Client) Template(ctx context.Context, longPollID string) (*work.Template, error) {
	t, _, err := c.template(ctx, longPollID)
	return t, err
}

// template also tells when the last byte of the answer was read.
func (c *Client) template(ctx context.Context, longPollID string) (*work.Template, time.Time, error) {
	const method = "getblocktemplate"
	params := struct {
		Rules        []string `json:"rules"`
		Capabilities []string `json:"capabilities"`
		LongPollID   string   `json:"longpollid,omitempty"`
	}{[]string{"segwit", "signet"}, []string{"longpoll"}, longPollID}
	id := c.ids.Add(1)
	request, err := encodeRequest(id, method, []any{params})
	if err != nil {
		return nil, time.Time{}, err
	}
	if longPollID == "" {
		var cancel context.CancelFunc
		ctx, cancel = withTimeout(ctx, c.options.TemplateTimeout)
		defer cancel()
	}
	via := c.others // which polling keeps open
	if longPollID != "" {
		via = c.longPolls
	}
	a, err := c.post(ctx, via, request, maxTemplate, true)
	if err != nil {
		return nil, time.Time{}, c.wrap(method, err)
	}
	if a.status != http.StatusOK {
		return nil, time.Time{}, c.wrap(method, a.decode(id, nil))
	}
	reply, err := work.ParseReply(a.body)
	switch {
	case reply.ID != "" && reply.ID != "null" && !sameID(reply.ID, id):
		err = wrongID([]byte(reply.ID), id)
	case err != nil:
		err = &templateError{err}
	case reply.Template == nil:
		err = &RPCError{Code: reply.Code, Message: reply.Message, Status: a.status}
	}
	if err != nil {
		return nil, time.Time{}, c.wrap(method, err)
	}
	c.templateSize.Store(int64(len(a.body)))
	return reply.Template, a.read, nil
}

// SubmitBlock hands a serialised block to the node and returns its verdict as
// BIP22 has it: "" for null (btcd says that also of a block whose parent it
// does not know), or a reason such as duplicate, inconclusive, high-hash.
func (c *Client) SubmitBlock(ctx context.Context, block []byte) (string, error) {
	return c.submit(ctx, newSubmission(block))
}

// submission is an encoded submitblock request, the same for every node.
type submission []byte

// Several megabytes are sent to several nodes: they are encoded once, so all
// requests have the same id.
const submissionID = 1

const submissionHead, submissionTail = `{"jsonrpc":"1.0","id":1,"method":"submitblock","params":["`, `"]}`

func newSubmission(block []byte) submission {
	request := make([]byte, 0, len(submissionHead)+hex.EncodedLen(len(block))+len(submissionTail))
	request = append(request, submissionHead...)
	request = hex.AppendEncode(request, block)
	return append(request, submissionTail...)
}

// block is the block of a submission in hex.
func (s submission) block() []byte { return s[len(submissionHead) : len(s)-len(submissionTail)] }

func (c *Client) submit(ctx context.Context, s submission) (string, error) {
	const method = "submitblock"
	ctx, cancel := withTimeout(ctx, c.options.SubmitTimeout)
	defer cancel()
	a, err := c.post(ctx, c.submissions, s, maxReply, true)
	if err != nil {
		return "", c.wrap(method, err)
	}
	var verdict *string
	if err := a.decode(submissionID, &verdict); err != nil {
		return "", c.wrap(method, err)
	}
	if verdict == nil {
		return "", nil
	}
	return brief(*verdict), nil
}

// wrap says which node and call an error comes from.
func (c *Client) wrap(method string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("bitcoind %s: %s: %w", c.name, method, err)
}

func encodeRequest(id uint64, method string, params []any) ([]byte, error) {
	if params == nil {
		params = []any{}
	}
	// Without a version btcd refuses the request; with 2.0 Bitcoin Core gives
	// errors another form.
	return json.Marshal(struct {
		Version string `json:"jsonrpc"`
		ID      uint64 `json:"id"`
		Method  string `json:"method"`
		Params  []any  `json:"params"`
	}{"1.0", id, method, params})
}

// timeoutError is a call that took too long.
type timeoutError struct{ after time.Duration }

func (e *timeoutError) Error() string { return fmt.Sprintf("no answer within %v", e.after) }

func withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, &timeoutError{d})
}

// answer is an HTTP answer.
type answer struct {
	status int
	body   []byte
	read   time.Time // when its last byte was there
}

// post sends a request. A cookie the node refuses is read again, once. again: it may be
// sent twice.
func (c *Client) post(ctx context.Context, via http.RoundTripper, request []byte, limit int64, again bool) (answer, error) {
	if c.err != nil {
		return answer{}, c.err
	}
	user, pass, err := c.credentials.get(false)
	if err != nil {
		return answer{}, err
	}
	a, err := c.postAs(ctx, via, user, pass, request, limit, again)
	if err == nil && a.status == http.StatusUnauthorized && c.credentials.cookie != "" {
		newUser, newPass, err := c.credentials.get(true)
		if err == nil && (newUser != user || newPass != pass) {
			return c.postAs(ctx, via, newUser, newPass, request, limit, again)
		}
	}
	return a, err
}

func (c *Client) postAs(ctx context.Context, via http.RoundTripper, user, pass string, request []byte, limit int64, again bool) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(request))
	if err != nil {
		return answer{}, err
	}
	r.SetBasicAuth(user, pass)
	r.Header.Set("Content-Type", "application/json")
	if again {
		// An empty list is not sent, it makes the transport try again when a kept
		// connection turns out to be closed.
		r.Header["Idempotency-Key"] = nil
	}
	response, err := via.RoundTrip(r)
	if err != nil {
		return answer{}, cause(ctx, err)
	}
	defer response.Body.Close()
	body, err := c.readBody(response, limit)
	if err != nil {
		return answer{}, cause(ctx, fmt.Errorf("reading the answer: %w", err))
	}
	return answer{response.StatusCode, body, time.Now()}, nil
}

// cause prefers why ctx ended to what that did to the connection.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil {
		return c
	}
	return err
}

// readBody reads a body into a buffer of its own, of the right size where the
// length is known or likely.
func (c *Client) readBody(r *http.Response, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, fmt.Errorf("%d bytes are too long", r.ContentLength)
	}
	size := int64(4 << 10)
	if limit == maxTemplate {
		size = max(size, withSlack(c.templateSize.Load()))
	}
	if r.ContentLength >= 0 && (r.ContentLength <= believed || limit == maxTemplate) {
		body := c.buffer(r.ContentLength, limit)
		_, err := io.ReadFull(r.Body, body)
		return body, err
	}
	b := bytes.NewBuffer(c.buffer(size, limit)[:0])
	n, err := b.ReadFrom(io.LimitReader(r.Body, limit+1))
	if err == nil && n > limit {
		err = fmt.Errorf("more than %d bytes are too long", limit)
	}
	return b.Bytes(), err
}

// buffer is memory of the given size, for a template what was prepared.
func (c *Client) buffer(size, limit int64) []byte {
	if limit == maxTemplate {
		if room := c.room.Swap(nil); room != nil && int64(len(*room)) >= size {
			return (*room)[:size]
		}
	}
	return make([]byte, size)
}

// withSlack is the size of a template answer with room for a larger one.
func withSlack(size int64) int64 { return size + size/16 }

// minPrepared is the size in bytes up to which memory is had at once.
const minPrepared = 64 << 10

// Prepare gets the memory for the next template's answer, as much as the
// newest one took. The system gives memory page by page when it is first
// written to, which for a large answer can take longer than all else between a
// new block and work for it. To be called when nobody waits.
func (c *Client) Prepare() {
	size := c.templateSize.Load()
	if size < minPrepared {
		return
	}
	if room := c.room.Load(); room != nil && int64(len(*room)) >= size {
		return
	}
	room := make([]byte, withSlack(size))
	for i := 0; i < len(room); i += os.Getpagesize() {
		room[i] = 1
	}
	c.room.Store(&room)
}
