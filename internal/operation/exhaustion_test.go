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

	"ckpool/internal/testkit/fakenode"
	"ckpool/internal/testkit/port"
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

// With more miners than descriptors those that are in mine on, the others are
// closed at once; the pool neither fills its log nor turns round.
func TestOutOfDescriptors(t *testing.T) {
	node, err := fakenode.Start(fakenode.Config{Chain: "main", Bits: 0x1d00ffff, User: "user", Password: "pass"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Close)
	port, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	conf := fmt.Sprintf(defaultConfig, node.Addr(), port)
	if err := os.WriteFile(filepath.Join(dir, "ckpool.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "s"), 0o750); err != nil {
		t.Fatal(err)
	}
	// 90 % of 120 are 108 places for miners; the rest of the pool has more than
	// the 12 that remain.
	c := exec.Command("sh", "-c", "ulimit -n 120; exec "+filepath.Join(programs, "ckpool")+" -s s/ckpool")
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
	until("first miner", func() bool {
		m, err := joinCrowd(port)
		if err != nil {
			return false
		}
		defer m.Close()
		return m.has("mining.notify", time.Second)
	})
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
	until("exhaustion", func() bool { return strings.Contains(logText(), "no descriptor left") })
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
	if len(in) < 60 || len(in) > 108 {
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
	until("recovery", func() bool {
		reply, err := exec.Command(filepath.Join(programs, "ckpmsg"), "-s", filepath.Join(dir, "s"), "--json", "connectorstats").Output()
		var stats struct{ Clients struct{ Count int } }
		return err == nil && json.Unmarshal(reply, &stats) == nil && stats.Clients.Count == 0
	})
	if n := strings.Count(logText(), "no descriptor left"); n != 1 {
		t.Errorf("%d lines about connections:\n%s", n, logText())
	}
	if n := strings.Count(logText(), "too many open files"); n > 10 { // also one for each file not written
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
