package operation

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/testkit/fakenode"
)

// want fails the script unless it has the number of arguments it must have.
func want(ts *testscript.TestScript, neg bool, args []string, atLeast int, usage string) {
	if neg || len(args) < atLeast {
		ts.Fatalf("usage: %s", usage)
	}
}

// expand FILE...: puts the values of variables into files.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "expand FILE...")
	for _, name := range args {
		path := ts.MkAbs(name)
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(path, []byte(text), 0o600))
	}
}

// save VARIABLE: stdout of the last command, without its end of line.
func save(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "save VARIABLE")
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

// log FILE REGEXP: waits until a line of the file matches.
func awaitText(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "log FILE REGEXP")
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	ts.Check(await(func() error {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && !re.Match(b) {
			err = fmt.Errorf("%s has no match of %s:\n%s", args[0], args[1], b)
		}
		return err
	}))
}

// answers REGEXP COMMAND: asks ckpmsg until its answer matches.
func answers(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "answers REGEXP COMMAND")
	re, err := regexp.Compile(args[0])
	ts.Check(err)
	ts.Check(await(func() error {
		c := exec.Command(filepath.Join(programs, "ckpmsg"), append([]string{"-s", ts.Getenv("S"), "--json"}, args[1:]...)...)
		b, err := c.CombinedOutput()
		if err == nil && !re.Match(b) {
			err = fmt.Errorf("no match of %s", args[0])
		}
		if err != nil {
			err = fmt.Errorf("ckpmsg %s: %w: %s", args[1], err, b)
		}
		return err
	}))
}

// ckpmsg ARG...: runs it as exec does, and again where a busy machine takes too long for
// the reply.
func ckpmsg(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, false, args, 1, "ckpmsg ARG...")
	args = append([]string{"-s", ts.Getenv("S")}, args...)
	for until := time.Now().Add(patience); ; {
		err := ts.Exec("ckpmsg", args...)
		if strings.Contains(ts.ReadFile("stdout")+ts.ReadFile("stderr"), "takes longer than") && time.Now().Before(until) {
			continue
		}
		if neg == (err == nil) {
			ts.Fatalf("ckpmsg: %v", err)
		}
		return
	}
}

// upgrade: tells the instance to, and again where a busy machine or disk takes too long.
func upgrade(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 0, "upgrade")
	for until := time.Now().Add(patience); ; {
		out, err := exec.Command(filepath.Join(programs, "ckpmsg"), "-s", ts.Getenv("S"), "upgrade").CombinedOutput()
		if err == nil {
			return
		}
		if !tooSlow(string(out)) || time.Now().After(until) {
			ts.Fatalf("upgrade: %v: %s", err, out)
		}
	}
}

// pidOf is the process of an instance.
func pidOf(ts *testscript.TestScript, name string) int {
	pid, err := readPID(filepath.Join(ts.Getenv("S"), name, "main.pid"))
	ts.Check(err)
	return pid
}

// signal NAME SIGNAL
func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "signal NAME SIGNAL")
	sig := unix.SignalNum(args[1])
	if sig == 0 {
		ts.Fatalf("no signal %s", args[1])
	}
	pid := pidOf(ts, args[0])
	ts.Check(syscall.Kill(pid, sig))
	switch sig {
	case syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT:
		ts.Check(awaitExit(pid))
	}
}

// gone NAME: waits until the instance has no pid file.
func awaitEnd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "gone NAME")
	file := filepath.Join(ts.Getenv("S"), args[0], "main.pid")
	ts.Check(await(func() error {
		if _, err := os.Stat(file); err == nil {
			return fmt.Errorf("%s is still there", file)
		}
		return nil
	}))
}

// listening PORT: waits until the port takes, or with ! does not take,
// connections.
func listening(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, false, args, 1, "listening PORT")
	ts.Check(await(func() error {
		c, err := net.Dial("tcp", "127.0.0.1:"+args[0])
		if err == nil {
			c.Close()
		}
		if neg == (err == nil) {
			return fmt.Errorf("port %s: %v", args[0], err)
		}
		return nil
	}))
}

// node fault|hang|clear|stop: what happens to the node.
func controlNode(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "node fault|hang|clear|stop")
	w := worldOf(ts)
	n := w.node
	w.hangs = args[0] == "hang"
	switch args[0] {
	case "fault":
		n.SetFault(fakenode.Fault{Kind: fakenode.WarmingUp})
	case "hang":
		n.SetFault(fakenode.Fault{Kind: fakenode.Hang})
	case "clear":
		n.ClearFault()
	case "stop":
		n.Close()
	default:
		ts.Fatalf("node cannot %s", args[0])
	}
}

// equal A B: two values are the same, or with ! are not.
func equal(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, false, args, 2, "equal A B")
	if neg == (args[0] == args[1]) {
		ts.Fatalf("%q and %q", args[0], args[1])
	}
}

// same OBJECT KEY...: the members have the same values in stdout.
func sameMembers(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "same OBJECT KEY...")
	compareMembers(ts, args, func(before, now float64) bool { return before == now })
}

// close-to OBJECT KEY...: the numbers in stdout have fallen, but no more than rates of a
// minute do in the minute that a busy machine may take for it.
func closeMembers(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "close-to OBJECT KEY...")
	compareMembers(ts, args, func(before, now float64) bool { return now > 0 && now <= before && now > before*0.3 })
}

func compareMembers(ts *testscript.TestScript, args []string, ok func(before, now float64) bool) {
	var before, now map[string]any
	ts.Check(json.Unmarshal([]byte(args[0]), &before))
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &now))
	for _, key := range args[1:] {
		b, isNumber := before[key].(float64)
		n, _ := now[key].(float64)
		if !isNumber || !ok(b, n) {
			ts.Fatalf("%s: %v, before %v", key, now[key], before[key])
		}
	}
}
