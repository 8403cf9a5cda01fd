package operation

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// As process 1 the pool gives nothing to a process that would end with it, and
// everything to one of another container.
func TestProcess1(t *testing.T) {
	t.Parallel()
	addr := freeAddrs(t, "127.0.0.1")
	p := newPlace(t, addr...)
	old := p.command(filepath.Join(programs, "ckpool"), "-s", p.sockets())
	old.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if !canIsolate() {
		t.Skip("process ids cannot be hidden here")
	}
	p.run(old, nil)
	p.serving(1)
	alice, err := dial(addr[0], "alice", "")
	if err != nil {
		t.Fatal(err)
	}
	defer alice.close()
	share := func() {
		t.Helper()
		if reject, err := alice.submit(""); reject != "" || err != nil {
			t.Fatalf("%s %v", reject, err)
		}
	}
	const refusal = "this is process 1, with which its container ends: start the new version's container instead"
	for _, command := range []string{"upgrade", "restart"} {
		if out, err := p.ask(command); err == nil || !strings.Contains(out, refusal) {
			t.Errorf("%s: %v %s", command, err, out)
		}
	}
	if enter, err := exec.LookPath("nsenter"); err == nil {
		inside := exec.Command(enter, "-t", strconv.Itoa(old.Process.Pid), "-p", filepath.Join(programs, "ckpool"), "-s", p.sockets(), "-H")
		inside.Dir = p.dir
		if out, err := inside.CombinedOutput(); err == nil || !strings.Contains(string(out), refusal) {
			t.Errorf("a process inside: %v %s", err, out)
		}
	}
	share()
	// Each container has a process 1, which does not see the others'.
	second := exec.Command(filepath.Join(programs, "ckpool"), "-s", p.sockets())
	second.Dir, second.SysProcAttr = p.dir, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if out, err := second.CombinedOutput(); err == nil || !strings.Contains(string(out), "another instance runs in "+p.sockets()+", ") {
		t.Errorf("a second one: %v %s", err, out)
	}
	sibling := p.command(filepath.Join(programs, "ckpool"), "-s", p.sockets(), "-H")
	sibling.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	p.run(sibling, nil)
	p.end(old)
	p.serving(1)
	share()
	next := p.pool("-H")
	p.end(sibling)
	p.serving(next.Process.Pid)
	share()
	p.must(next.Process.Signal(syscall.SIGTERM))
	p.end(next)
}

func canIsolate() bool {
	c := exec.Command("true")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	return c.Run() == nil
}
