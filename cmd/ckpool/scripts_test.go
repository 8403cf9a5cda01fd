package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/gobuild"
	"github.com/ckpool/ckpool/internal/testkit/miner"
	"github.com/ckpool/ckpool/internal/testkit/port"
	"github.com/ckpool/ckpool/internal/testkit/wait"
	"github.com/ckpool/ckpool/stratum/client"
)

func TestMain(m *testing.M) {
	probeTime = patience // the machine may be busy with other tests
	testscript.Main(m, map[string]func(){"ckpool": func() {
		setFaults()
		if d, err := time.ParseDuration(os.Getenv(probeKey)); err == nil {
			probeTime = d
		}
		systemPlaces = false // what this machine has is none of the tests
		main()
	}, "oldckpool": beOld, "lateckpool": beLate})
}

// probeKey: how long a node has that ckpool --check asks.
const probeKey = "CKPOOL_TEST_PROBE"

// patience is how long a script waits for something before it fails.
const patience = time.Minute

// The scripts run the real ckpool, ckpmsg and notifier beside a fake node on
// regtest. $NODE is its address, $PORT a free port, and pool.conf a
// configuration with both.
func TestScripts(t *testing.T) {
	tools := t.TempDir()
	if err := gobuild.Programs(tools, "github.com/ckpool/ckpool/cmd/ckpmsg", "github.com/ckpool/ckpool/cmd/notifier"); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", tools+":"+env.Getenv("PATH"))
			return setUp(env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"config":  derive,
			"refuses": refuses,
			"node":    setNode,
			"ask":     ask,
			"mine":    mine,
			"waitfor": waitFor,
			"gone":    gone,
			"subst":   subst,
			"mode":    mode,
			"sigterm": signals(syscall.SIGTERM),
			"sighup":  signals(syscall.SIGHUP),
			"sigkill": signals(syscall.SIGKILL),
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "privileged": // ports below 1024 are not for everybody
				text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
				first, _ := strconv.Atoi(strings.TrimSpace(string(text)))
				return err != nil || first > 81, nil
			case "root":
				return os.Getuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %s", name)
		},
	})
}

const address = "bcrt1q7v96qwscwmmy7q5sjvw8rawgvxl0gamx6xlltt"

func setUp(env *testscript.Env) error {
	n, err := fakenode.Start(fakenode.Config{User: "user", Password: "pass"})
	if err != nil {
		return err
	}
	env.Defer(n.Close)
	env.Values["node"] = n
	minerPort, err := port.Free()
	if err != nil {
		return err
	}
	env.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector's second at the end looks like a hanging process
	env.Setenv("NODE", n.Addr())
	_, nodePort, _ := strings.Cut(n.Addr(), ":")
	env.Setenv("NODEPORT", nodePort)
	pagePort, err := port.Free()
	if err != nil {
		return err
	}
	env.Setenv("PAGE", pagePort)
	env.Setenv("PORT", minerPort)
	env.Setenv("ADDRESS", address)
	sample, err := filepath.Abs("../../docs/ckpool.conf")
	if err != nil {
		return err
	}
	env.Setenv("SAMPLE", sample)
	config := map[string]any{
		"btcd":       []any{map[string]any{"url": n.Addr(), "auth": "user", "pass": "pass", "zmq": []string{}}},
		"btcaddress": address,
		"serverurl":  map[string]any{"url": "127.0.0.1:" + minerPort},
		"mindiff":    1e-9,
		"startdiff":  1e-9,
	}
	env.Values["config"] = config
	return writeConfig(filepath.Join(env.WorkDir, "pool.conf"), config)
}

func writeConfig(path string, config map[string]any) error {
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// derive FILE KEY VALUE...: a configuration that differs from pool.conf in
// these keys; values are JSON, "" for none.
func derive(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args)%2 == 0 {
		ts.Fatalf("usage: config file key value [key value...]")
	}
	config := maps.Clone(ts.Value("config").(map[string]any))
	for pair := range slices.Chunk(args[1:], 2) {
		config[pair[0]] = json.RawMessage(pair[1])
		if pair[1] == "" {
			delete(config, pair[0])
		}
	}
	ts.Check(writeConfig(ts.MkAbs(args[0]), config))
}

// refuses TEXT ARG...: ckpool with these arguments ends with status 1 and
// nothing but that line, of which the program's log adds the time.
func refuses(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: refuses text [argument...]")
	}
	err := ts.Exec("ckpool", args[1:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		ts.Fatalf("ckpool ended with %v, want status 1", err)
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("stdout: %s", out)
	}
	if got := strings.TrimSuffix(ts.ReadFile("stderr"), "\n"); got != args[0] {
		ts.Fatalf("got  %s\nwant %s", got, args[0])
	}
}

// subst TEMPLATE FILE: writes the file with the values of variables in it.
func subst(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: subst template file")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o600))
}

// mode FILE PERMISSIONS: what its owner and others may do, in octal.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode file permissions")
	}
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
	}
}

// setNode changes the fake node: FAULT|ok|newblock.
func setNode(ts *testscript.TestScript, neg bool, args []string) {
	n := ts.Value("node").(*fakenode.Node)
	if neg || len(args) != 1 {
		ts.Fatalf("usage: node dead|starting|hangs|ok|newblock")
	}
	switch args[0] {
	case "dead":
		n.SetFault(fakenode.Fault{Kind: fakenode.Cut})
	case "starting":
		n.SetFault(fakenode.Fault{Kind: fakenode.WarmingUp})
	case "hangs":
		n.SetFault(fakenode.Fault{Kind: fakenode.Hang})
	case "ok":
		n.ClearFault()
	case "newblock":
		n.NewBlock()
	default:
		ts.Fatalf("unknown state %s", args[0])
	}
}

// mine WORKER: a miner connects, submits a share, which is a block, and leaves.
func mine(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mine worker")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ts.Check(submitOne(ctx, "127.0.0.1:"+ts.Getenv("PORT"), args[0]))
}

func submitOne(ctx context.Context, pool, worker string) error {
	return submitEasy(ctx, pool, worker, "x")
}

// submitEasy does so with a password, which may ask for a difficulty, once there is a job
// that is easy enough.
func submitEasy(ctx context.Context, pool, worker, password string) error {
	c, err := client.Dial(ctx, client.Endpoint{URL: pool, User: worker, Password: password}, client.Options{UserAgent: "script/1"})
	if err != nil {
		return err
	}
	defer c.Close()
	for e := range c.Events() {
		j, ok := e.(client.Notify)
		if !ok || j.Difficulty > 0.001 {
			continue
		}
		target := difficulty.TargetFromDifficulty(j.Difficulty)
		s := client.Share{NTime: j.NTime, Extranonce2: make([]byte, j.Extranonce.Extranonce2Len)}
		var search miner.Search
		h := miner.NewHasher()
		h.Start(&search, &j.Notify, j.Extranonce.Extranonce1, s.Extranonce2, j.Version)
		if _, found := h.Find(&search, &target, 1<<26); !found {
			return errors.New("no share found")
		}
		s.Nonce = search.Nonce
		reject, err := j.Submit(ctx, s)
		if err == nil && reject != nil {
			err = fmt.Errorf("share rejected: %v", reject)
		}
		return err
	}
	return errors.New("connection closed")
}

// ask ARG...: what ckpmsg says, again while the pool takes too long, as on a busy machine.
func ask(ts *testscript.TestScript, neg bool, args []string) {
	var err error
	wait.Until(ts, patience, "an answer to "+strings.Join(args, " "), func() bool {
		err = ts.Exec("ckpmsg", args...)
		return !strings.Contains(ts.ReadFile("stdout")+ts.ReadFile("stderr"), "takes longer than")
	})
	if neg == (err == nil) {
		ts.Fatalf("ckpmsg: %v", err)
	}
}

// waitFor FILE PATTERN: until the file, which may not be there yet, has a match.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitfor file pattern")
	}
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	var text []byte
	defer func() {
		if !pattern.Match(text) {
			ts.Logf("%s:\n%s", args[0], text)
		}
	}()
	wait.Until(ts, patience, args[0]+" has "+args[1], func() bool {
		text, _ = os.ReadFile(ts.MkAbs(args[0]))
		return pattern.Match(text)
	})
}

// gone FILE...: until none of the files is there.
func gone(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: gone file...")
	}
	wait.Until(ts, patience, strings.Join(args, " ")+" removed", func() bool {
		for _, name := range args {
			if _, err := os.Lstat(ts.MkAbs(name)); err == nil {
				return false
			}
		}
		return true
	})
}

// signals DIR: sends a signal to the instance whose socket directory it is.
func signals(s syscall.Signal) func(ts *testscript.TestScript, neg bool, args []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: sigterm|sighup|sigkill directory")
		}
		pid, err := strconv.Atoi(ts.ReadFile(filepath.Join(args[0], "main.pid")))
		ts.Check(err)
		ts.Check(syscall.Kill(pid, s))
	}
}
