package web

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"golang.org/x/net/html"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/testkit/port"
)

// asInstalled is nginx with what it does unless it is told otherwise, answers in buffers
// among that, and with gzip. The first place leaves the base on the path, the second takes
// it off, as docs/web.md has it.
const asInstalled = `daemon off; pid %[1]s/pid; error_log %[1]s/errors; worker_processes 1;
events { worker_connections 256; }
http {
	access_log off; gzip on; gzip_min_length 1; gzip_types application/json text/css application/javascript text/event-stream;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	server { listen 127.0.0.1:%[2]s; location /a/b/ { proxy_pass http://%[4]s; proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-For $remote_addr; } }
	server { listen 127.0.0.1:%[3]s; location /a/b/ { proxy_pass http://%[4]s/; proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-For $remote_addr; } }
}
`

// behindNginx serves what is at an address through nginx until the test ends.
func behindNginx(t *testing.T, address string) (places []string) {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		path = "/usr/sbin/nginx"
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("no nginx: apt-get install nginx-light")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil { // its worker is another user
		t.Fatal(err)
	}
	var ports [2]string
	for i := range ports {
		if ports[i], err = port.Free(); err != nil {
			t.Fatal(err)
		}
		places = append(places, "http://127.0.0.1:"+ports[i]+"/a/b")
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, asInstalled, dir, ports[0], ports[1], address), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, "-c", file, "-p", dir, "-e", filepath.Join(dir, "errors"))
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait() // it was ended
		if t.Failed() {
			text, _ := os.ReadFile(filepath.Join(dir, "errors"))
			t.Logf("%s", text)
		}
	})
	for _, p := range ports {
		for deadline := time.Now().Add(patience); ; <-time.After(20 * time.Millisecond) {
			if c, err := net.Dial("tcp", "127.0.0.1:"+p); err == nil {
				c.Close()
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("nginx does not start")
			}
		}
	}
	return places
}

// Below a base of nginx, which takes it off the path or not, all is there and no link
// leaves it (develsoftware/GMinerRelease#305). Events come at once and not when a buffer is
// full (felinics/Memoh#836), and a stream ends with who read it.
func TestBehindNginx(t *testing.T) {
	f := aPool()
	s := aServer(t, f, func(c *config.Config) {
		c.HTTPBase, c.HTTPTrustedNetworks = "/a/b", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	// Events are sent by hand: what comes is what was sent, and nothing pushes it on.
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx, l, s.handler, func(ctx context.Context) { <-ctx.Done(); s.hub.end() }) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	client := http.Client{Timeout: patience}
	defer client.CloseIdleConnections()
	for _, place := range behindNginx(t, l.Addr().String()) {
		for _, path := range append(allPaths("alice"), "/assets/"+s.pages.version+"/page.js") {
			reply, err := client.Get(place + path)
			if err != nil {
				t.Fatal(err)
			}
			text := body(reply.Body)
			reply.Body.Close()
			if reply.StatusCode != http.StatusOK {
				t.Errorf("%s%s: %s", place, path, reply.Status)
			}
			if reply.Header.Get("Content-Type") == pageType {
				checkLinks(t, "/a/b", path, text)
			}
			if path == "/connect" && !strings.Contains(html.UnescapeString(text), "stratum+tcp://127.0.0.1:3333") {
				t.Errorf("%s: miners are not pointed at the name that nginx was asked for", place)
			}
		}
		reading, stop := context.WithCancel(t.Context())
		request, err := http.NewRequestWithContext(reading, http.MethodGet, place+"/api/v1/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		streams := func() []*stream {
			s.hub.mu.Lock()
			defer s.hub.mu.Unlock()
			return slices.Clone(s.hub.streams)
		}
		lines := bufio.NewScanner(reply.Body)
		for _, accepted := range []int64{4711, 4712} {
			f.mu.Lock()
			f.pool.AcceptedCount = accepted
			f.mu.Unlock()
			s.pools.fresh = 0
			s.hub.send(t.Context(), time.Now(), streams(), map[string][]byte{})
			came := make(chan bool, 1)
			go func() {
				for lines.Scan() {
					if strings.Contains(lines.Text(), fmt.Sprintf(`"accepted":{"shares":%d,`, accepted)) {
						came <- true
						return
					}
				}
				came <- false
			}()
			select {
			case is := <-came:
				if !is {
					t.Fatalf("%s: the stream ended: %v", place, lines.Err())
				}
			case <-time.After(patience):
				stop()
				t.Fatalf("%s: an event is kept back", place)
			}
		}
		stop()
		reply.Body.Close()
		for deadline := time.Now().Add(patience); len(streams()) > 0; <-time.After(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the stream does not end with its reader", place)
			}
		}
	}
}

// A form that comes through nginx is taken for one of the pages here, whatever port it was
// asked at: browsers that only say from where it comes are told from others by that.
func TestFormBehindNginx(t *testing.T) {
	s, _ := accountServer(t, everyone(t), Place{Base: "/a/b", Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	client := http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	for _, place := range behindNginx(t, l.Addr().String()) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, place+"/login", strings.NewReader(credentialsOf("alice", goodPassword, "").Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", strings.TrimSuffix(place, "/a/b"))
		reply, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text := body(reply.Body)
		reply.Body.Close()
		if reply.StatusCode != http.StatusSeeOther || reply.Header.Get("Location") != "/a/b/account" {
			t.Errorf("%s: %s\n%s", place, reply.Status, text)
		}
	}
}

// In a browser a page behind nginx is live, and complains of nothing.
func TestBrowserBehindNginx(t *testing.T) {
	f := aPool()
	s := aServer(t, f, func(c *config.Config) { c.HTTPBase = "/a/b" })
	address, end := servingThis(t, s)
	defer end()
	places := behindNginx(t, strings.TrimPrefix(address, "http://"))
	chromium := browser(t)
	for _, place := range places {
		b := newTab(chromium, t)
		b.do(chromedp.Navigate(place + "/"))
		b.until("it is live", `!document.getElementById("live").hidden`)
		b.until("a curve", `!!document.querySelector(".chart canvas")`)
		b.do(chromedp.Click(`nav a[href="/a/b/blocks"]`), chromedp.WaitVisible("[data-part=blocks]"))
		b.quiet(place)
	}
}
