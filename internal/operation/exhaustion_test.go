package operation

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/port"
)

// crowdMember is one of more miners than there are descriptors for.
type crowdMember struct {
	net.Conn
	read *bufio.Reader
}

func joinCrowd(port string) (*crowdMember, error) {
	c, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		return nil, err
	}
	_ = c.(*net.TCPConn).SetLinger(0)
	_, err = c.Write([]byte(`{"id":1,"method":"mining.subscribe","params":["crowd/1"]}` + "\n" +
		`{"id":2,"method":"mining.authorize","params":["alice","x"]}` + "\n"))
	return &crowdMember{c, bufio.NewReader(c)}, err
}

// has tells whether a line with a text comes within a time.
func (m *crowdMember) has(text string, within time.Duration) bool {
	_ = m.SetReadDeadline(time.Now().Add(within))
	for {
		line, err := m.read.ReadString('\n')
		if err != nil {
			return false
		}
		if strings.Contains(line, text) {
			return true
		}
	}
}

// startWithin starts a pool with a node in a directory, with a limit of open files.
func startWithin(t *testing.T, node *fakenode.Node, limit string) (c *exec.Cmd, dir, at string) {
	t.Helper()
	at, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	conf := fmt.Sprintf(defaultConfig, node.Addr(), at)
	if err := os.WriteFile(filepath.Join(dir, "ckpool.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "s"), 0o750); err != nil {
		t.Fatal(err)
	}
	c = exec.Command("sh", "-c", "ulimit -n "+limit+"; exec "+filepath.Join(programs, "ckpool")+" -s s/ckpool")
	c.Dir = dir
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		if err := c.Wait(); err != nil {
			t.Errorf("the pool ended with %v", err)
		}
	})
	return c, dir, at
}

// Connections never take the descriptors that a found block needs to get to the
// node and to the disk.
func TestBlockWithAllConnectionsHeld(t *testing.T) {
	node, err := fakenode.Start(fakenode.Config{Chain: "main", Bits: 0x207fffff, User: "user", Password: "pass"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Close)
	_, dir, port := startWithin(t, node, "120")
	before, _ := node.Tip()
	var finder *scriptMiner
	if err := await(func() (err error) {
		finder, err = dial("127.0.0.1:"+port, "alice", "")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(finder.close)
	refused := 0
	for range 200 {
		c, err := joinCrowd(port)
		if err != nil {
			refused++
			continue
		}
		defer c.Close()
	}
	if err := await(func() error {
		if _, err := finder.submit(""); err != nil {
			return err
		}
		if height, _ := node.Tip(); height == before {
			return errors.New("no block has come to the node")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	var log []byte
	err = await(func() error { // who has connected waits to be let in, and the log to be written
		log, _ = os.ReadFile(filepath.Join(dir, "logs", "ckpool.log"))
		if !strings.Contains(string(log), "server full: 60 clients") {
			return errors.New("nobody is told that the server is full")
		}
		return nil
	})
	if err != nil || strings.Contains(string(log), "too many open files") {
		t.Errorf("%d refused, %v\n%s", refused, err, log)
	}
}

// With more miners than descriptors for them those that are in mine on, the others
// are closed at once; the pool neither fills its log nor turns round.
func TestMoreMinersThanDescriptors(t *testing.T) {
	node, err := fakenode.Start(fakenode.Config{Chain: "main", Bits: 0x1d00ffff, User: "user", Password: "pass"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Close)
	c, dir, port := startWithin(t, node, "120")
	logText := func() string {
		b, _ := os.ReadFile(filepath.Join(dir, "logs", "ckpool.log"))
		return string(b)
	}
	until := func(what string, done func() bool) {
		t.Helper()
		if err := await(func() error {
			if !done() {
				return errors.New("not in time: " + what)
			}
			return nil
		}); err != nil {
			t.Fatalf("%v\n%s", err, logText())
		}
	}
	nobody := func() bool {
		reply, err := exec.Command(filepath.Join(programs, "ckpmsg"), "-s", filepath.Join(dir, "s"), "--json", "connectorstats").Output()
		var stats struct{ Clients struct{ Count int } }
		return err == nil && json.Unmarshal(reply, &stats) == nil && stats.Clients.Count == 0
	}
	until("first miner", func() bool {
		m, err := joinCrowd(port)
		if err != nil {
			return false
		}
		defer m.Close()
		return m.has("mining.notify", time.Second)
	})
	until("the first miner to be gone", nobody)
	var crowd []*crowdMember
	t.Cleanup(func() {
		for _, m := range crowd {
			m.Close()
		}
	})
	for range 200 {
		if m, err := joinCrowd(port); err == nil { // else it was closed before it had said anything
			crowd = append(crowd, m)
		}
	}
	until("exhaustion", func() bool { return strings.Contains(logText(), "server full") })
	var in []*crowdMember
	for i, m := range crowd {
		_ = m.SetReadDeadline(time.Now().Add(patience))
		_, err := m.read.Peek(1)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("miner %d is neither served nor closed", i)
		}
		if err == nil && m.has("mining.notify", patience) {
			in = append(in, m)
		}
	}
	if len(in) != 60 {
		t.Fatalf("%d of %d served", len(in), len(crowd))
	}
	cpu := cpuOf(t, c.Process.Pid)
	<-time.After(time.Second)
	if used := cpuOf(t, c.Process.Pid) - cpu; used > 300*time.Millisecond {
		t.Errorf("%v of CPU in a second with nothing to do", used)
	}
	node.NewBlock()
	for i, m := range in {
		if !m.has("mining.notify", patience) {
			t.Fatalf("miner %d of %d got no work on a new block", i, len(in))
		}
	}
	for i, m := range in {
		if i%2 == 0 {
			m.Close()
		}
	}
	until("others to be let in", func() bool {
		m, err := joinCrowd(port)
		if err != nil {
			return false
		}
		crowd = append(crowd, m)
		return m.has("mining.notify", patience)
	})
	for _, m := range crowd {
		m.Close()
	}
	until("recovery", nobody)
	if n := strings.Count(logText(), "server full"); n != 1 {
		t.Errorf("%d lines about connections:\n%s", n, logText())
	}
	if n := strings.Count(logText(), "too many open files"); n > 0 {
		t.Errorf("%d lines about it:\n%s", n, logText())
	}
}

// cpuOf is what a process has used.
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(after)
	var user, system int64
	_, _ = fmt.Sscan(f[11], &user)
	_, _ = fmt.Sscan(f[12], &system)
	return time.Duration(user+system) * 10 * time.Millisecond
}
