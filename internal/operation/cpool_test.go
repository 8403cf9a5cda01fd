package operation

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/cpool"
	"github.com/ckpool/ckpool/internal/testkit/port"
)

func freeAddrs(t *testing.T, hosts ...string) (addrs []string) {
	t.Helper()
	for _, host := range hosts {
		port, err := port.Free()
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, net.JoinHostPort(host, port))
	}
	return addrs
}

// asked is what the old instance is asked with one listen address.
var asked = []string{"handover 1", "ping", "getxfd0", "reject", "reconnect", "shutdown"}

// This pool takes the place of one in C, whatever that one does.
func TestTakeOverFromC(t *testing.T) {
	two := []string{"handover 1", "ping", "getxfd0", "getxfd1", "reject", "reconnect", "shutdown"}
	const sure = syscall.SIGKILL // as the end by shutdown is played
	tests := []struct {
		name   string
		set    cpool.Config
		hosts  []string // where the old one listens
		listen []string // what this one wants instead; "" for the same
		asked  []string
		ended  syscall.Signal
		log    []string
		queue  bool // miners that come meanwhile are served
	}{
		{
			name: "one socket", hosts: []string{"127.0.0.1"}, asked: asked, ended: sure, queue: true,
			log: []string{"Received: rejecting in response to reject request", "Received: reconnecting in response to reconnect request", "Received: exiting in response to shutdown request"},
		},
		{name: "two sockets", hosts: []string{"127.0.0.1", "127.0.0.1"}, asked: two, ended: sure, queue: true},
		{name: "all addresses", hosts: []string{"0.0.0.0"}, listen: []string{"[::]"}, asked: asked, ended: sure, queue: true},
		{
			name: "other address", hosts: []string{"127.0.0.1"}, listen: []string{"127.0.0.2"}, asked: asked, ended: sure,
			log: []string{"does not match config"},
		},
		{
			name: "one of all addresses", hosts: []string{"0.0.0.0"}, listen: []string{"127.0.0.1"}, asked: asked, ended: sure,
			log: []string{"does not match config"},
		},
		{
			name: "gives nothing", hosts: []string{"127.0.0.1"}, set: cpool.Config{Gives: -1}, ended: sure,
			asked: []string{"handover 1", "ping", "getxfd0", "getfd", "reject", "reconnect", "shutdown"},
		},
		{
			name: "keeps its port", hosts: []string{"127.0.0.1"}, set: cpool.Config{Gives: -1, Keeps: true}, ended: sure,
			asked: []string{"handover 1", "ping", "getxfd0", "getfd", "reject", "reconnect", "shutdown"},
		},
		{name: "gives one of two", hosts: []string{"127.0.0.1", "127.0.0.1"}, set: cpool.Config{Gives: 1}, asked: two, ended: sure},
		{
			name: "of 2014", hosts: []string{"127.0.0.1"}, set: cpool.Config{Of2014: true}, ended: sure, queue: true,
			asked: []string{"handover 1", "ping", "getxfd0", "getfd", "reject", "reconnect", "shutdown"},
		},
		{name: "dies when asked for a socket", hosts: []string{"127.0.0.1"}, set: cpool.Config{DiesAt: "getxfd0"}, ended: sure, asked: asked[:3]},
		{name: "dies at reject", hosts: []string{"127.0.0.1"}, set: cpool.Config{DiesAt: "reject"}, ended: sure, asked: asked[:4]},
		{name: "dies at shutdown", hosts: []string{"127.0.0.1"}, set: cpool.Config{DiesAt: "shutdown"}, ended: sure, asked: asked, queue: true},
		{
			name: "does not end", hosts: []string{"127.0.0.1"}, set: cpool.Config{Lingers: true}, asked: asked, ended: syscall.SIGTERM, queue: true,
			log: []string{"failed to shutdown cleanly, terminating"},
		},
		{name: "does not end by SIGTERM", hosts: []string{"127.0.0.1"}, set: cpool.Config{Stubborn: true}, asked: asked, ended: syscall.SIGKILL, queue: true},
		{
			name: "never answers", hosts: []string{"127.0.0.1"}, listen: []string{"127.0.0.2"}, set: cpool.Config{Silent: true}, ended: syscall.SIGTERM,
			log: []string{"Received no response to ping request"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			tt.set.Dir = p.sockets()
			tt.set.Listen = freeAddrs(t, tt.hosts...) // also free when the old one has died
			early := make(chan net.Conn, len(tt.hosts))
			tt.set.At = func(old *cpool.Old, request string) {
				if request == "shutdown" { // nobody is accepted any more
					for i := range tt.hosts {
						early <- dialMiner(t, old.Addr(i))
					}
				}
			}
			old := cpool.Start(t, tt.set)
			var listen []string
			for i := range tt.hosts {
				addr := old.Addr(i)
				if tt.listen != nil {
					_, port, _ := net.SplitHostPort(addr)
					addr = tt.listen[i] + ":" + port
				}
				listen = append(listen, addr)
			}
			p.configure(map[string]any{"serverurl": listen})
			next := p.pool("-H")
			p.serving(next.Process.Pid)
			if running(old.PID) {
				t.Error("both run")
			}
			select {
			case <-old.Ended: // what the test's process sees a moment later
			case <-time.After(patience):
				t.Fatal("the old one does not end")
			}
			if got := old.Signal(); got != tt.ended && (got != syscall.SIGTERM || !old.Late()) {
				t.Errorf("ended by %v, want %v", got, tt.ended)
			}
			if got := old.Requests(); !slices.Equal(got, tt.asked) {
				t.Errorf("asked %q\nwant %q", got, tt.asked)
			}
			if got := old.Faults(); len(got) > 0 {
				t.Errorf("%q", got)
			}
			for _, text := range tt.log {
				p.logged(text)
			}
			if tt.queue {
				for range tt.hosts {
					subscribe(t, <-early)
				}
			}
			for _, addr := range listen {
				subscribe(t, dialMiner(t, strings.Replace(addr, "[::]", "127.0.0.1", 1)))
			}
			_ = next.Process.Signal(syscall.SIGTERM)
			p.end(next)
		})
	}
}

// A pool in C goes on when this one cannot run, and has been told nothing.
func TestCGoesOn(t *testing.T) {
	told := []string{"handover 1", "ping", "getxfd0"}
	tests := []struct {
		name    string
		set     cpool.Config
		change  func(t *testing.T, p *place, old *cpool.Old) map[string]any // in the configuration
		asked   []string
		because string
	}{
		{
			name: "an address of another chain", because: "btcaddress", asked: told,
			change: func(*testing.T, *place, *cpool.Old) map[string]any {
				return map[string]any{"btcaddress": "bcrt1q7v96qwscwmmy7q5sjvw8rawgvxl0gamx6xlltt"}
			},
		},
		{
			name: "another program's port", because: "is used by another program", asked: append(told, "getxfd1"),
			change: func(t *testing.T, _ *place, old *cpool.Old) map[string]any {
				return map[string]any{"serverurl": []string{old.Addr(0), taken(t, "127.0.0.1:0")}}
			},
		},
		{
			name: "C's port on another program's address", because: "is used by another program", asked: told,
			change: func(t *testing.T, _ *place, old *cpool.Old) map[string]any {
				_, port, _ := net.SplitHostPort(taken(t, strings.Replace(old.Addr(0), "127.0.0.1", "127.0.0.2", 1)))
				return map[string]any{"serverurl": []string{"0.0.0.0:" + port}}
			},
		},
		{
			name: "a socket not given, another program's port", set: cpool.Config{Gives: -1}, because: "is used by another program",
			asked: append(told, "getfd"),
			change: func(t *testing.T, _ *place, old *cpool.Old) map[string]any {
				return map[string]any{"serverurl": []string{old.Addr(0), taken(t, "127.0.0.1:0")}}
			},
		},
		{
			name: "a socket not given, an address of another machine", set: cpool.Config{Gives: -1}, because: "does not have that address",
			asked: append(told, "getfd"),
			change: func(_ *testing.T, _ *place, old *cpool.Old) map[string]any {
				return map[string]any{"serverurl": []string{old.Addr(0), "203.0.113.77:3333"}}
			},
		},
		{
			name: "addresses that overlap once C is gone", because: "want an address that no other entry listens on",
			change: func(_ *testing.T, _ *place, old *cpool.Old) map[string]any {
				_, port, _ := net.SplitHostPort(old.Addr(0))
				return map[string]any{"serverurl": []string{"0.0.0.0:" + port, "127.0.0.2:" + port}}
			},
		},
		{
			name: "a socket not given, nobody knows whose", set: cpool.Config{Gives: -1}, because: "which process is to be taken over from is not known",
			asked: append(told, "getfd"),
			change: func(_ *testing.T, p *place, _ *cpool.Old) map[string]any {
				p.must(os.Remove(filepath.Join(p.sockets(), "main.pid")))
				return nil
			},
		},
		{
			name: "never answers, another program's port", set: cpool.Config{Silent: true}, because: "is used by another program",
			change: func(t *testing.T, _ *place, old *cpool.Old) map[string]any {
				return map[string]any{"serverurl": []string{old.Addr(0), taken(t, "127.0.0.1:0")}}
			},
		},
		{
			name: "never answers, a certificate that is missing", set: cpool.Config{Silent: true}, because: "nowhere.pem",
			change: func(t *testing.T, _ *place, old *cpool.Old) map[string]any {
				return map[string]any{"serverurl": []any{map[string]any{"url": old.Addr(0), "tls": map[string]string{"cert": "nowhere.pem", "key": "nowhere.key"}}}}
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			tt.set.Dir, tt.set.Listen = p.sockets(), freeAddrs(t, "127.0.0.1")
			old := cpool.Start(t, tt.set)
			changes := map[string]any{"serverurl": []string{old.Addr(0)}}
			pid := p.pid()
			maps.Copy(changes, tt.change(t, p, old))
			p.configure(changes)
			p.refused(p.pool("-H"), tt.because)
			if got := old.Requests(); !slices.Equal(got, tt.asked) {
				t.Errorf("asked %q", got)
			}
			select {
			case <-old.Ended:
				t.Fatal("C was ended")
			default:
			}
			if got := p.pid(); got != pid && got != 0 {
				t.Errorf("main.pid is %d, want %d", got, pid)
			}
			subscribeFails(t, dialMiner(t, old.Addr(0))) // it is the old one's
		})
	}
}

// Nor has it been told anything where this one may not do what it needs to, or
// see what it must know.
func TestCGoesOnForOthers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can start programs as another user")
	}
	if err := os.Chmod(programs, 0o755); err != nil { // which may be this user's alone
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		set     cpool.Config
		deny    string // directory that is not to be written
		because string
	}{
		{name: "socket directory", deny: "s/p", because: "s/p is not to be written"},
		{name: "statistics", deny: "logs/users", because: "logs/users is not to be written"},
		{name: "a socket not given, files of the process not shown", set: cpool.Config{Gives: -1}, because: "it cannot be seen whether process"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			tt.set.Dir, tt.set.Listen = p.sockets(), freeAddrs(t, "127.0.0.1")
			old := cpool.Start(t, tt.set)
			p.configure(map[string]any{"serverurl": []string{old.Addr(0)}})
			p.must(os.MkdirAll(filepath.Join(p.dir, "logs", "users"), 0o777))
			p.must(filepath.WalkDir(p.dir, func(path string, _ os.DirEntry, err error) error {
				if err == nil {
					err = os.Chmod(path, 0o777)
				}
				return err
			}))
			if tt.deny != "" {
				p.must(os.Chmod(filepath.Join(p.dir, tt.deny), 0o755))
			}
			next := p.command(filepath.Join(programs, "ckpool"), "-s", p.sockets(), "-H")
			next.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			p.run(next, nil)
			p.refused(next, tt.because)
			if got := old.Requests(); slices.Contains(got, "reject") {
				t.Errorf("asked %q", got)
			}
			subscribeFails(t, dialMiner(t, old.Addr(0)))
		})
	}
}

// taken is an address on which another program listens.
func taken(t *testing.T, addr string) string {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// A pool that is to be ended by -k goes on when the one that would come cannot
// run.
func TestKillOldRefused(t *testing.T) {
	t.Parallel()
	addr := freeAddrs(t, "127.0.0.1")
	p := newPlace(t, addr...)
	old := p.pool()
	p.serving(old.Process.Pid)
	p.configure(map[string]any{"serverurl": []string{addr[0], taken(t, "127.0.0.1:0")}})
	p.refused(p.pool("-k"), "is used by another program")
	p.serving(old.Process.Pid)
	subscribe(t, dialMiner(t, addr[0]))

	p.configure(map[string]any{"serverurl": addr})
	next := p.pool("-k")
	p.serving(next.Process.Pid)
	p.end(old)
	subscribe(t, dialMiner(t, addr[0]))
	_ = next.Process.Signal(syscall.SIGTERM)
	p.end(next)
}

// A pool in C takes the place of this one: its miners are told to reconnect, who
// comes meanwhile waits in the socket for the other, nothing is lost.
func TestHandOverToC(t *testing.T) {
	t.Parallel()
	for until := time.Now().Add(2 * patience); ; { // others may use this machine
		ended := handOverToC(t)
		if ended <= cpool.EndTime || t.Failed() {
			break
		}
		if time.Now().After(until) {
			t.Errorf("gone after %v, C waits %v", ended, cpool.EndTime)
			break
		}
	}
}

func handOverToC(t *testing.T) (ended time.Duration) {
	addrs := freeAddrs(t, "127.0.0.1", "127.0.0.1")
	p := newPlace(t, addrs...)
	old := p.pool()
	p.serving(old.Process.Pid)
	alice, err := dial(addrs[0], "alice.rig1", "")
	if err != nil {
		t.Fatal(err)
	}
	defer alice.close()
	if reject, err := alice.submit(""); reject != "" || err != nil {
		t.Fatalf("%s %v", reject, err)
	}
	idle := dialMiner(t, addrs[1])
	subscribe(t, idle)
	idle.Write([]byte(`{"id":2,"method":"mining.authorize","params":["bob","x"]}` + "\n"))
	readUntil(t, idle, `"id":2`)

	var early net.Conn
	took, err := cpool.TakeOver(p.sockets(), 3, func(request string) {
		if request == "shutdown" {
			early = dialMiner(t, addrs[1])
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range took.Sockets {
		defer f.Close()
	}
	if took.PID != old.Process.Pid || len(took.Sockets) != 2 {
		t.Errorf("process %d gave %d sockets", took.PID, len(took.Sockets))
	}
	for request, want := range map[string]string{
		"ping": "\x04\x00\x00\x00pong", "reject": "\x09\x00\x00\x00rejecting", "reconnect": "\x0c\x00\x00\x00reconnecting", "shutdown": "\x07\x00\x00\x00exiting",
	} {
		if got := took.Replies[request]; got != want {
			t.Errorf("%s is answered %q, want %q", request, got, want)
		}
	}
	p.end(old)
	readUntil(t, idle, `"method":"client.reconnect"`)
	if _, err := bufio.NewReader(idle).ReadString('\n'); err == nil || os.IsTimeout(err) {
		t.Errorf("the connection is not closed: %v", err)
	}
	// The queue is the other's.
	for i, f := range took.Sockets {
		l, err := net.FileListener(f)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if l.Addr().String() != addrs[i] {
			t.Errorf("socket %d is that of %v, want %s", i, l.Addr(), addrs[i])
		}
		if i == 1 {
			l.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.RemoteAddr().String() != early.LocalAddr().String() {
				t.Errorf("%v waits, want %v", c.RemoteAddr(), early.LocalAddr())
			}
		}
	}
	var user struct {
		Shares float64 `json:"shares_exact"`
		Worker []struct{ WorkerName string }
	}
	b, err := os.ReadFile(filepath.Join(p.dir, "logs", "users", "alice"))
	if err != nil || json.Unmarshal(b, &user) != nil || user.Shares <= 0 || len(user.Worker) != 1 {
		t.Errorf("%v: %s", err, b)
	}
	if b, err = os.ReadFile(filepath.Join(p.dir, "logs", "pool", "pool.status")); err != nil || !strings.Contains(string(b), `"accepted_count": 1`) {
		t.Errorf("%v: %s", err, b)
	}
	if _, err := os.Stat(filepath.Join(p.sockets(), "main.pid")); err == nil {
		t.Error("main.pid is left behind")
	}
	return took.Ended
}

// What programs in C ask of this pool's sockets.
func TestCTools(t *testing.T) {
	t.Parallel()
	addr := freeAddrs(t, "127.0.0.1")
	p := newPlace(t, addr...)
	pool := p.pool()
	p.serving(pool.Process.Pid)
	listener, stratifier := filepath.Join(p.sockets(), "listener"), filepath.Join(p.sockets(), "stratifier")
	for request, want := range map[string]string{
		"ping": "\x04\x00\x00\x00pong", "PINGxyz": "\x04\x00\x00\x00pong", "loglevel=9": "\x07\x00\x00\x00Invalid", "loglevel=x": "\x06\x00\x00\x00Failed",
		"loglevel=6": "\x07\x00\x00\x00success", "what": "\x07\x00\x00\x00unknown", "accept": "\x09\x00\x00\x00accepting",
	} {
		if got, err := cpool.Ask(listener, request); err != nil || string(got) != want {
			t.Errorf("%s: %q %v, want %q", request, got, err, want)
		}
	}
	fd, err := cpool.AskFD(listener, "getfd")
	if err != nil {
		t.Error(err)
	} else {
		syscall.Close(fd)
	}
	if got, err := cpool.Ask(listener, "getxfd7"); err != nil || len(got) > 0 {
		t.Errorf("getxfd7: %q %v", got, err)
	}
	p.logged("Connector asked to send invalid fd 7")
	// The notifier is gone before it could be answered; the news counts.
	before := p.node.Calls("getblocktemplate")
	for range 20 {
		if err := cpool.Tell(stratifier, "update"); err != nil {
			t.Fatal(err)
		}
	}
	p.await(func() error {
		if p.node.Calls("getblocktemplate") == before {
			return fmt.Errorf("the node is not asked")
		}
		return nil
	})
	if got, err := cpool.Ask(listener, "ping"); err != nil || string(got) != "\x04\x00\x00\x00pong" {
		t.Errorf("after the notifiers: %q %v", got, err)
	}
	_ = pool.Process.Signal(syscall.SIGTERM)
	p.end(pool)
}

// What this project's programs ask of a pool in C.
func TestToolsAgainstC(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	old := cpool.Start(t, cpool.Config{Dir: p.sockets(), Replies: map[string]string{
		"stats": `{"workbases": {"count": 3}}`, "users": "", "loglevel=6": "success", `getuser={"user": "bob"}`: "",
	}})
	if out, err := p.ask("ping"); out != "pong" || err != nil {
		t.Errorf("ping: %s %v", out, err)
	}
	if out, err := p.ask("-N", "stratifier", "--json", "stats"); out != `{"workbases": {"count": 3}}` || err != nil {
		t.Errorf("stats: %s %v", out, err)
	}
	if out, err := p.ask("loglevel", "6"); out != "success" || err != nil {
		t.Errorf("loglevel: %s %v", out, err)
	}
	if out, err := p.ask("users"); !strings.HasSuffix(out, "no reply: connection closed") || err == nil {
		t.Errorf("users, which C does not answer: %s %v", out, err)
	}
	if out, err := p.ask("what"); !strings.HasPrefix(out, "what: unknown command") || err == nil {
		t.Errorf("what: %s %v", out, err)
	}
	lines := p.start(nil, "ckpmsg", "-s", filepath.Join(p.dir, "s"), "-n", "p", "-l", "5")
	<-lines.ended
	notify := p.start(nil, "notifier", "-s", filepath.Join(p.dir, "s"), "-n", "p")
	p.end(notify)
	if got := strings.TrimSpace(notify.said()); got != "Notified stratifier of block update" {
		t.Errorf("notifier says %q", got)
	}
	want := []string{"ping", "stats", "loglevel=6", "users", "what", "update"}
	if got := old.Requests(); !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
	if got := old.Faults(); len(got) > 0 {
		t.Errorf("%q", got)
	}
}

func dialMiner(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func subscribe(t *testing.T, c net.Conn) {
	t.Helper()
	if c == nil {
		return
	}
	if _, err := c.Write([]byte(`{"id":1,"method":"mining.subscribe","params":["cgminer/4.12.1"]}` + "\n")); err != nil {
		t.Fatal(err)
	}
	readUntil(t, c, `"mining.notify"`)
}

// subscribeFails sees that nobody of this project answers.
func subscribeFails(t *testing.T, c net.Conn) {
	t.Helper()
	c.Write([]byte(`{"id":1,"method":"mining.subscribe","params":[]}` + "\n"))
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n > 0 || !os.IsTimeout(err) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// readUntil reads lines until one has the text.
func readUntil(t *testing.T, c net.Conn, text string) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	var line []byte
	for one := make([]byte, 1); ; {
		if _, err := c.Read(one); err != nil {
			t.Fatalf("no %s: %v after %q", text, err, line)
		}
		if line = append(line, one[0]); one[0] == '\n' {
			if strings.Contains(string(line), text) {
				return
			}
			line = line[:0]
		}
	}
}
