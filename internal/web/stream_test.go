package web

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

//go:embed testdata/v1.txt
var v1 string

//go:embed testdata/accounts.txt
var accountsV1 string

// serving serves a fixture on a port, and returns its address and what ends it.
func serving(t *testing.T, f *fixture) (address string, end func()) {
	t.Helper()
	return servingThis(t, aServer(t, f, nil))
}

func servingThis(t *testing.T, s *Server) (address string, end func()) {
	t.Helper()
	s.options.Config().HTTP.Listen = "127.0.0.1:0"
	l, err := s.Listen(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	return "http://" + l.Addr().String(), func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// However many workers a user has, and however many streams watch it, these look at none of
// them; and who reads texts for pages is told whose they are.
func TestWatchedUser(t *testing.T) {
	f := aPool()
	s := aServer(t, f, nil)
	s.shown.fresh = 0
	var texts map[string]string
	for range 20 {
		b, err := s.event(t.Context(), "alice", true, began)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(bytes.TrimPrefix(b, []byte("event: texts\ndata: ")), &texts); err != nil || texts["user"] != "alice" || texts["user.workers"] != "3" {
			t.Fatalf("%v: %s", err, b)
		}
	}
	if f.listed != 0 {
		t.Errorf("its workers were looked at %d times", f.listed)
	}
}

// A stream tells what the API answers, each second, of the pool and of the users that it
// was asked for; it ends with its reader, and with the server.
func TestStream(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	address, end := serving(t, aPool())
	defer end()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	reply, err := client.Get(address + "/api/v1/stream?user=alice&user=nobody")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if h := reply.Header; h.Get("Content-Type") != "text/event-stream; charset=utf-8" || h.Get("X-Accel-Buffering") != "no" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", h)
	}
	lines := bufio.NewScanner(reply.Body)
	kinds := map[string]int{}
	for kinds["pool"] < 2 || kinds["user"] < 2 {
		if !lines.Scan() {
			t.Fatalf("ended: %v", lines.Err())
		}
		kind, ok := strings.CutPrefix(lines.Text(), "event: ")
		if !ok {
			continue
		}
		if !lines.Scan() {
			t.Fatal("no data")
		}
		var of struct {
			Miners int
			User   string
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if err := json.Unmarshal([]byte(data), &of); !ok || err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		if kind == "pool" && of.Miners != 3 || kind == "user" && of.User != "alice" {
			t.Errorf("%s: %s", kind, data)
		}
		kinds[kind]++
	}
	if kinds["pool"]+kinds["user"] < 4 || len(kinds) != 2 {
		t.Errorf("%v", kinds)
	}
}

// Streams are bounded, in all and by address, and who asks for too much is told so.
func TestStreamsBounded(t *testing.T) {
	s := aServer(t, aPool(), nil)
	var all []*stream
	for i := range maxOfAddress {
		st := s.hub.open(nil, false, "a")
		if st == nil {
			t.Fatalf("stream %d was refused", i)
		}
		all = append(all, st)
	}
	if s.hub.open(nil, false, "a") != nil {
		t.Error("one too many of an address")
	}
	for i := 0; len(all) < maxStreams; i++ {
		st := s.hub.open(nil, false, fmt.Sprint("b", i/10))
		if st == nil {
			t.Fatalf("stream %d was refused", len(all))
		}
		all = append(all, st)
	}
	if w := get(s, "/api/v1/stream"); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("one too many: %d", w.Code)
	}
	if w := get(s, "/api/v1/stream?"+strings.Repeat("user=x&", maxWatched+1)); w.Code != http.StatusBadRequest {
		t.Errorf("too many users: %d", w.Code)
	}
	for _, st := range all {
		s.hub.close(st)
	}
	if len(s.hub.streams)+len(s.hub.addresses) != 0 {
		t.Errorf("left over: %d streams, %d addresses", len(s.hub.streams), len(s.hub.addresses))
	}
}

// However many read, events are made once, and a reader who does not read delays nobody.
func TestSlowReader(t *testing.T) {
	f := aPool()
	s := aServer(t, f, nil)
	s.pools.fresh = 0
	slow, quick := s.hub.open(nil, false, "a"), s.hub.open([]string{"alice"}, false, "b")
	for i := range 20 {
		f.mu.Lock()
		f.pool.AcceptedCount = int64(i)
		before := f.asked
		f.mu.Unlock()
		s.hub.send(t.Context(), time.Now(), []*stream{slow, quick}, map[string][]byte{})
		if f.asked != before+1 {
			t.Fatalf("figures were made %d times for two readers", f.asked-before)
		}
		if e := string(<-quick.events); !strings.Contains(e, fmt.Sprintf(`"accepted":{"shares":%d,`, i)) || !strings.Contains(e, "event: user") {
			t.Fatal(e)
		}
	}
	if e := string(<-slow.events); !strings.Contains(e, `"accepted":{"shares":19,`) {
		t.Errorf("not the newest: %s", e)
	}
}

// Beside as many slow ones as an address may have, others are answered.
func TestSlowClients(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	address, end := serving(t, aPool())
	defer end()
	for range 2 * maxOfReader {
		c, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nX")
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext}}
	reply, err := client.Get(address + "/api/v1/pool")
	if err != nil || reply.StatusCode != http.StatusOK {
		t.Fatalf("beside slow ones: %v", err)
	}
	reply.Body.Close()
	// What is sent beyond what anybody has to say is not read.
	request, err := http.NewRequest("POST", address+"/api/v1/pool", strings.NewReader(strings.Repeat("x", 10*maxBody)))
	if err != nil {
		t.Fatal(err)
	}
	if reply, err = client.Do(request); err == nil {
		reply.Body.Close()
		if reply.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("a big body: %d", reply.StatusCode)
		}
	}
}

// Streams have turns of their own, each as often as there is time for: once a second for
// up to a hundred, and who comes meanwhile waits no longer than they do. What wakes the
// processor beside these is little.
func TestTurnsOfStreams(t *testing.T) {
	for _, n := range []int{0, 3, 100, 200, maxStreams - 1} {
		h := newHub(nil)
		now := time.Now()
		for i := range n {
			h.open(nil, false, fmt.Sprint(i)).due = now
		}
		turns, wakes, late, longest := map[*stream]int{}, 0, (*stream)(nil), 0
		for end, half := now.Add(30*time.Second), now.Add(15*time.Second); now.Before(end); {
			streams, wait := h.next(now)
			for _, s := range streams {
				turns[s]++
			}
			if late == nil && now.After(half) {
				late = h.open(nil, false, "late")
				h.close(late) // it opens at the time of the test's clock
				late.due = now
				h.insert(late)
			}
			wakes++
			longest = max(longest, len(streams))
			now = now.Add(wait)
		}
		want := 30
		if n > 100 {
			want = max(30*100/(n+1), 30/5)
		}
		if len(turns) != n+1 {
			t.Errorf("%d streams of %d had turns", len(turns), n+1)
		}
		for s, had := range turns {
			if s != late && (had < want-1 || had > want+1) || s == late && had < want/2-1 {
				t.Fatalf("with %d streams one had %d turns in 30 s, want %d; the late one: %v", n, had, want, s == late)
			}
		}
		if n <= 500 && longest > 1 || longest > maxOfTurn {
			t.Errorf("%d of %d streams had one turn", longest, n)
		}
		if n <= 3 && wakes > 30*(n+1+5) {
			t.Errorf("with %d streams there were %d wakes in 30 s", n, wakes)
		}
	}
}

// One with nothing to tell has a heartbeat.
func TestHeartbeat(t *testing.T) {
	f := aPool()
	f.failing = context.DeadlineExceeded // loops that do not answer
	s := aServer(t, f, nil)
	quiet := s.hub.open([]string{"nobody"}, false, "a")
	quiet.told = began
	for after, want := range map[time.Duration]string{heartbeat - time.Second: "", heartbeat: ": \n\n"} {
		s.hub.send(t.Context(), began.Add(after), []*stream{quiet}, map[string][]byte{})
		got := ""
		select {
		case b := <-quiet.events:
			got = string(b)
		default:
		}
		if quiet.told = began; got != want {
			t.Errorf("after %v: %q, want %q", after, got, want)
		}
	}
}
