//go:build linux

package netserver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/descriptors"
)

// roles are what this test binary does as a process of its own.
var roles = map[string]func() int{
	"echo":     echoProcess,
	"pipeline": pipelineProcess,
	"idle":     idleProcess,
}

// echoProcess serves until its input ends, with the descriptor limit of
// NETSERVER_TEST_LIMIT. It prints its address, then answers commands.
func echoProcess() int {
	var limit uint64
	if _, err := fmt.Sscan(os.Getenv("NETSERVER_TEST_LIMIT"), &limit); err == nil {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit / 2, Max: limit}); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	raised, err := descriptors.Raise()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	rec := newRecord()
	var probes []*probe
	s, err := New(Config{Descriptors: raised, Events: rec.event}, func(l *Loop) Handler {
		p := &probe{l: l, rec: rec}
		probes = append(probes, p)
		return p
	})
	if err == nil {
		_, err = s.Listen(context.Background(), "127.0.0.1:0")
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	var others []*os.File // of the rest of a program
	for range 20 {
		f, _ := os.Open(os.DevNull)
		others = append(others, f)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	fmt.Println(s.Listeners()[0].Addrs[0])
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		switch in.Text() {
		case "clients":
			fmt.Println(s.Clients())
		case "iterations":
			n := int64(0)
			for _, p := range probes {
				n += p.flushes.Load()
			}
			fmt.Println(n)
		case "events":
			rec.mu.Lock()
			fmt.Println(strings.Join(rec.events, "|"))
			rec.mu.Unlock()
		case "close others":
			for _, f := range others {
				f.Close()
			}
			fmt.Println("closed")
		}
	}
	cancel()
	if err := <-done; err != nil {
		return 1
	}
	return 0
}

// process is a role running.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	addr string
}

func startProcess(t testing.TB, role string, env ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(append(os.Environ(), "NETSERVER_TEST_ROLE="+role), env...)
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.in.Close()
		watchdog := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
		defer watchdog.Stop()
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	})
	p.addr = p.answer() // of a server, another is only ready
	return p
}

func (p *process) answer() string {
	p.t.Helper()
	if !p.out.Scan() {
		p.t.Fatal("process ended")
	}
	return p.out.Text()
}

func (p *process) ask(command string) string {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, command); err != nil {
		p.t.Fatal(err)
	}
	return p.answer()
}

func (p *process) number(command string) (n int) {
	p.t.Helper()
	if _, err := fmt.Sscan(p.ask(command), &n); err != nil {
		p.t.Fatal(err)
	}
	return n
}
