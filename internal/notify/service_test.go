package notify

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/testkit/port"
)

// patience is how long a test waits for something before it fails.
const patience = time.Minute

// The test vector that Standard Webhooks publishes.
func TestSignature(t *testing.T) {
	target := config.Target{Secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
	got := signature(target.WebhookKey(), "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// got is a request that a server had.
type got struct {
	method, path string
	header       http.Header
	body         []byte
}

// serve is a server that answers each request like this, and what it was asked.
func serve(t *testing.T, answer http.HandlerFunc) (*httptest.Server, chan got) {
	requests := make(chan got, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- got{r.Method, r.URL.RequestURI(), r.Header, body}
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s, requests
}

func answering(status int, header, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if name, value, ok := strings.Cut(header, ": "); ok {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// hostileNotice is about a worker who wants to be more than a name.
func hostileNotice() *Notice {
	n := &Notice{
		ID: "worker_down-x-1", Event: config.EventWorkerDown, Severity: warning, Pool: "pool", Time: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC),
		User: "bob", Worker: "bob.<!here>@everyone", Workers: []string{"bob.<!here>@everyone"}, Count: 1, Users: 1, Reason: "No share for 10m 0s.",
	}
	n.compose()
	return n
}

// What each service gets, in the form that it documents.
func TestServices(t *testing.T) {
	for _, tt := range []struct {
		name   string
		target config.Target // its URL is behind that of the server
		answer http.HandlerFunc
		path   string
		header map[string]string
		body   string
	}{
		{"ntfy", config.Target{URL: "/sub/my-topic", Token: "tk_x"}, answering(200, "", `{"id":"sPs71M8A2T","time":1643935928,"event":"message","topic":"mytopic"}`), "/sub/",
			map[string]string{"Authorization": "Bearer tk_x"},
			`{"topic":"my-topic","title":"Worker bob.<!here>@everyone is down","message":"No share for 10m 0s.","priority":4,"tags":["warning"]}`},
		{"ntfy", config.Target{URL: "/my-topic", Auth: "u", Pass: "p"}, answering(200, "", `{}`), "/", map[string]string{"Authorization": "Basic dTpw"},
			`{"topic":"my-topic","title":"Worker bob.<!here>@everyone is down","message":"No share for 10m 0s.","priority":4,"tags":["warning"]}`},
		{"telegram", config.Target{URL: "", Token: "123:ABC", Chat: "-100"}, answering(200, "", `{"ok":true,"result":{"message_id":7}}`), "/bot123:ABC/sendMessage", nil,
			`{"chat_id":"-100","text":"Worker <code>bob.&lt;!here&gt;@everyone</code> is down\nNo share for 10m 0s.","parse_mode":"HTML","link_preview_options":{"is_disabled":true}}`},
		{"discord", config.Target{URL: "/api/webhooks/1/token"}, answering(204, "", ""), "/api/webhooks/1/token", nil,
			"{\"content\":\"Worker `bob.<!here>@everyone` is down\\nNo share for 10m 0s.\",\"allowed_mentions\":{\"parse\":[]},\"flags\":4}"},
		{"slack", config.Target{URL: "/services/T/B/x"}, answering(200, "", "ok"), "/services/T/B/x", nil,
			`{"text":"Worker bob.&lt;!here&gt;@everyone is down","unfurl_links":false,"unfurl_media":false,
			  "blocks":[{"type":"section","text":{"type":"plain_text","text":"Worker bob.&lt;!here&gt;@everyone is down\nNo share for 10m 0s.","emoji":false}}]}`},
		{"webhook", config.Target{URL: "/hook?x=1"}, answering(202, "", "whatever"), "/hook?x=1", map[string]string{"Webhook-Id": "worker_down-x-1", "Webhook-Signature": ""},
			`{"id":"worker_down-x-1","event":"worker_down","time":"2026-11-30T12:00:00Z","severity":"warning","pool":"pool","title":"Worker bob.<!here>@everyone is down","text":"No share for 10m 0s.",
			  "user":"bob","worker":"bob.<!here>@everyone","workers":["bob.<!here>@everyone"],"count":1,"users":1,"reason":"No share for 10m 0s."}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, requests := serve(t, tt.answer)
			tt.target.Service, tt.target.URL = tt.name, s.URL+tt.target.URL
			if err := send(t.Context(), &tt.target, serviceOf(&tt.target, nil), hostileNotice()); err != nil {
				t.Fatal(err)
			}
			r := <-requests
			if r.method != "POST" || r.path != tt.path || !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") {
				t.Errorf("%s %s %s", r.method, r.path, r.header)
			}
			for name, value := range tt.header {
				if r.header.Get(name) != value {
					t.Errorf("%s: %q", name, r.header.Get(name))
				}
			}
			var have, want any
			if err := errors.Join(json.Unmarshal(r.body, &have), json.Unmarshal([]byte(tt.body), &want)); err != nil {
				t.Fatalf("%v: %s", err, r.body)
			}
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A signed webhook is signed over what was sent, when it was sent.
func TestWebhookSigned(t *testing.T) {
	s, requests := serve(t, answering(200, "", ""))
	target := config.Target{Service: "webhook", URL: s.URL, Secret: "a text of sixteen bytes"}
	before := time.Now().Unix()
	if err := send(t.Context(), &target, serviceOf(&target, nil), hostileNotice()); err != nil {
		t.Fatal(err)
	}
	r := <-requests
	at, err := strconv.ParseInt(r.header.Get("Webhook-Timestamp"), 10, 64)
	if err != nil || at < before || at > time.Now().Unix() {
		t.Errorf("at %d, %v", at, err)
	}
	if want := signature([]byte("a text of sixteen bytes"), r.header.Get("Webhook-Id"), r.header.Get("Webhook-Timestamp"), r.body); r.header.Get("Webhook-Signature") != want {
		t.Errorf("%q, want %q", r.header.Get("Webhook-Signature"), want)
	}
}

// What services answer that do not take a message, as they document it.
func TestRefusals(t *testing.T) {
	const secret = "s3cret-token"
	for _, tt := range []struct {
		name, service string
		answer        http.HandlerFunc
		want          refusal
	}{
		{"seconds", "webhook", answering(429, "Retry-After: 120", "slow down\nplease"), refusal{"HTTP status 429: slow down", 2 * time.Minute, false}},
		{"far away", "webhook", answering(503, "Retry-After: 99999999999999", ""), refusal{"HTTP status 503", 24 * time.Hour, false}},
		{"nonsense", "webhook", answering(503, "Retry-After: -5", ""), refusal{"HTTP status 503", 0, false}},
		{"telegram", "telegram", answering(429, "", `{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 35","parameters":{"retry_after":35}}`),
			refusal{"HTTP status 429: Too Many Requests: retry after 35", 35 * time.Second, false}},
		{"no chat", "telegram", answering(400, "", `{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}`), refusal{"HTTP status 400: Bad Request: chat not found", 0, true}},
		{"discord", "discord", answering(429, "", `{"message":"You are being rate limited.","retry_after":64.5,"global":false}`),
			refusal{"HTTP status 429: You are being rate limited.", 64500 * time.Millisecond, false}},
		{"slack", "slack", answering(404, "", "no_service"), refusal{"HTTP status 404: no_service", 0, false}},
		{"slack payload", "slack", answering(400, "", "invalid_payload"), refusal{"HTTP status 400: invalid_payload", 0, true}},
		{"ntfy", "ntfy", answering(429, "", `{"code":42901,"http":429,"error":"limit reached: too many requests; increase your limits with a paid plan, see https://ntfy.sh","link":"https://ntfy.sh/docs/publish/#limitations"}`),
			refusal{"HTTP status 429: limit reached: too many requests; increase your limits with a paid plan, see https[:]//ntfy.sh", 0, false}},
		{"500", "webhook", answering(500, "", "<html><body>oops"), refusal{"HTTP status 500", 0, false}},
		{"redirect", "webhook", answering(302, "Location: https://elsewhere.example/", "x"), refusal{"HTTP status 302: it redirects to another address, which is not followed", 0, false}},
		{"hostile", "webhook", answering(500, "", "\x1b[2J\u202ex "+strings.Repeat("y", 70000)), refusal{"HTTP status 500: .[2J.x " + strings.Repeat("y", 192) + "…", 0, false}},
		{"echo", "telegram", answering(404, "", `{"description":"no bot`+secret+`"}`), refusal{"HTTP status 404: no bot…", 0, false}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := serve(t, tt.answer)
			target := config.Target{Service: tt.service, URL: s.URL, Token: secret}
			err := send(t.Context(), &target, serviceOf(&target, nil), hostileNotice())
			r := (*refusal)(nil)
			if !errors.As(err, &r) || *r != tt.want {
				t.Errorf("%#v, want %#v", err, tt.want)
			}
		})
	}
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	if got := retryAfter("Mon, 30 Nov 2026 12:01:30 GMT", now); got != 90*time.Second {
		t.Errorf("date: %v", got)
	}
}

// Servers that fail: each error is a line that tells no secret.
func TestTransport(t *testing.T) {
	closed, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	cut, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		c, _, _ := w.(http.Hijacker).Hijack()
		c.Close()
	})
	stop := make(chan struct{})
	slow, _ := serve(t, func(http.ResponseWriter, *http.Request) { <-stop })
	t.Cleanup(func() { close(stop) }) // before the server is closed
	encrypted := httptest.NewUnstartedServer(answering(200, "", ""))
	encrypted.Config.ErrorLog = log.New(io.Discard, "", 0)
	encrypted.StartTLS()
	t.Cleanup(encrypted.Close)
	for _, tt := range []struct{ name, url, want string }{
		{"closed", "http://127.0.0.1:" + closed, "connection refused"},
		{"cut off", cut.URL, "EOF"},
		{"slow", slow.URL, "no answer in time"},
		{"certificate", encrypted.URL, "certificate signed by unknown authority"},
		{"no TLS", strings.Replace(cut.URL, "http:", "https:", 1), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.name == "slow" {
				var stop context.CancelFunc
				ctx, stop = context.WithTimeout(ctx, 50*time.Millisecond)
				defer stop()
			}
			target := config.Target{Service: "telegram", URL: tt.url, Token: "123:s3cret"}
			err := send(ctx, &target, serviceOf(&target, nil), hostileNotice())
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "sendMessage") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v", err)
			}
		})
	}
	roots := x509.NewCertPool()
	roots.AddCert(encrypted.Certificate())
	target := config.Target{Service: "webhook", URL: encrypted.URL}
	if err := send(t.Context(), &target, serviceOf(&target, roots), hostileNotice()); err != nil {
		t.Errorf("a certificate that is trusted: %v", err)
	}
}

// A command gets the event on its input and a few variables, and nothing of this process's.
func TestCommand(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CKPOOL_TEST_SECRET", "s3cret")
	script := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	run := func(limit time.Duration, argv ...string) error {
		target := config.Target{Service: "command", Command: argv, Timeout: limit}
		return send(t.Context(), &target, serviceOf(&target, nil), hostileNotice())
	}
	out := filepath.Join(dir, "out")
	if err := run(patience, script("good", `cat > "$1"; env >> "$1"; pwd >> "$1"`), out); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(out)
	object, rest, _ := strings.Cut(string(data), "}")
	var n Notice
	if err := json.Unmarshal([]byte(object+"}"), &n); err != nil || n.Worker != "bob.<!here>@everyone" || n.Title != "Worker bob.<!here>@everyone is down" {
		t.Errorf("%v: %s", err, object)
	}
	for _, line := range []string{"CKPOOL_EVENT=worker_down\n", "CKPOOL_TITLE=Worker bob.<!here>@everyone is down\n", "CKPOOL_TEXT=No share for 10m 0s.\n", "CKPOOL_SEVERITY=warning\n", "CKPOOL_ID=worker_down-x-1\n", "\n/\n"} {
		if !strings.Contains(rest, line) {
			t.Errorf("no %q in %s", line, rest)
		}
	}
	if strings.Contains(rest, "s3cret") || strings.Contains(rest, "HOME=") {
		t.Errorf("the environment is passed on: %s", rest)
	}
	err := run(patience, script("bad", "cat >/dev/null; echo first; echo 'no \x1b[2J such' >&2; exit 3"))
	if r := (*refusal)(nil); !errors.As(err, &r) || r.text != "exit status 3: no .[2J such" || !r.final {
		t.Errorf("%#v", err)
	}
	if err := run(patience, filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("%v", err)
	}
	if err := run(patience, script("deaf", "exit 0")); err != nil { // which does not read its input
		t.Errorf("deaf: %v", err)
	}
	// What it has started is killed with it.
	begun := time.Now()
	pid := filepath.Join(dir, "pid")
	err = run(200*time.Millisecond, script("hangs", "sleep 1000 & echo $! > "+pid+"; wait"))
	if err == nil || !strings.Contains(err.Error(), "killed, since it had not ended after 200ms") || time.Since(begun) > patience {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
	if data, err := os.ReadFile(pid); err == nil && len(data) > 0 { // else it was killed before
		for until := time.Now().Add(patience); alive(t, strings.TrimSpace(string(data))); {
			if time.Now().After(until) {
				t.Fatal("what the command has started is still there")
			}
		}
	}
}

// alive tells that a process runs, be it only as one that nobody waits for.
func alive(t *testing.T, pid string) bool {
	t.Helper()
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestTail(t *testing.T) {
	var k tail
	for i := range 1000 {
		fmt.Fprintf(&k, "line %d %s\n", i, strings.Repeat("x", 100))
	}
	if k.Write(make([]byte, 10000)); len(k.kept) > 4096 {
		t.Errorf("%d bytes", len(k.kept))
	}
	fmt.Fprint(&k, "\nlast\n\n")
	if k.line() != "last" {
		t.Errorf("%q", k.line())
	}
}

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{`{"ok":false,"parameters":{"retry_after":35}}`, `{"retry_after":1e300,"message":"\u001b"}`, `{"error":{"x":1}}`, "<html>", "no_service\n", "[]", "null", "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if a := parseAnswer(body); a.after < 0 || a.after > longestPause {
			t.Errorf("%v", a.after)
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"120", "1e999", "NaN", "-1", "Mon, 30 Nov 2026 12:01:30 GMT", "", "0x10"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := retryAfter(s, time.Unix(1e9, 0)); got < 0 {
			t.Errorf("%v", got)
		}
	})
}
