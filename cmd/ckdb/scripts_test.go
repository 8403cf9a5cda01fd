package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
	"github.com/ckpool/ckpool/internal/testkit/postgres"
	"github.com/ckpool/ckpool/internal/testkit/wait"
	"github.com/ckpool/ckpool/stratum/client"
)

func TestMain(m *testing.M) {
	testscript.Main(suite{m}, map[string]func(){"ckdb": main})
}

// suite ends the database server behind the tests.
type suite struct{ m *testing.M }

func (s suite) Run() int { return postgres.Main(s.m) }

// patience is how long a script waits for something before it fails.
const patience = time.Minute

// buildTools builds the programs that scripts run, and returns their directory.
func buildTools(t *testing.T) string {
	tools := t.TempDir()
	if err := gobuild.Programs(tools, "github.com/nats-io/nats-server/v2", "github.com/ckpool/ckpool/cmd/ckpool", "github.com/ckpool/ckpool/cmd/ckpmsg"); err != nil {
		t.Fatal(err)
	}
	return tools
}

// The scripts run the real ckdb beside a real ckpool on a fake node. $PORT is the
// pool's, whose directory is that of the script, $PORT2 and $PORT3 are free; $POSTGRES an empty database, where
// the condition postgres holds, and $POSTGRES2 another.
func TestScripts(t *testing.T) {
	tools := buildTools(t)
	installed := false
	var databases []string
	t.Run("postgres", func(t *testing.T) {
		for range 2 {
			databases = append(databases, postgres.Database(t))
		}
		installed = true
	})
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", tools+":"+env.Getenv("PATH"))
			if installed {
				env.Setenv("POSTGRES", databases[0])
				env.Setenv("POSTGRES2", databases[1])
			}
			return setUp(env)
		},
		Cmds: scriptCommands,
		Condition: func(name string) (bool, error) {
			if name == "postgres" {
				return installed, nil
			}
			return false, fmt.Errorf("unknown condition %s", name)
		},
	})
}

var scriptCommands = map[string]func(*testscript.TestScript, bool, []string){
	"mine": mine, "waitfor": waitFor, "stored": stored, "shown": shown, "until": until, "sigterm": signals(syscall.SIGTERM), "sigkill": signals(syscall.SIGKILL),
	"sighup": signals(syscall.SIGHUP), "sigusr1": signals(syscall.SIGUSR1),
	"blocks": mineBlocks, "reorg": reorg, "spend": spend, "sethash": setHash, "wallet": setWallet, "sign": sign, "pay": payByHand, "lock": lockCoin, "dump": dump,
	"signtext": signText, "code": setCode, "login": login, "field": field, "look": look, "ask": ask, "item": item, "secret": secret, "scraped": scraped, "browse": browse,
}

func setUp(env *testscript.Env) error {
	n, err := fakenode.Start(fakenode.Config{User: "user", Password: "pass"})
	if err != nil {
		return err
	}
	env.Defer(n.Close)
	return configure(env, n.Addr(), "user", "pass", "bcrt1q7v96qwscwmmy7q5sjvw8rawgvxl0gamx6xlltt")
}

// configure writes the pool's configuration.
func configure(env *testscript.Env, node, user, pass, address string) error {
	for _, name := range []string{"PORT", "PORT2", "PORT3"} {
		port, err := port.Free()
		if err != nil {
			return err
		}
		env.Setenv(name, port)
	}
	env.Setenv("GORACE", "atexit_sleep_ms=0")
	text, err := json.Marshal(map[string]any{
		"btcd":       []any{map[string]any{"url": node, "auth": user, "pass": pass, "zmq": []string{}}},
		"btcaddress": address,
		"serverurl":  map[string]any{"url": "127.0.0.1:" + env.Getenv("PORT")},
		"mindiff":    1e-9, "startdiff": 1e-9, "journal": "journal",
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(env.WorkDir, "pool.conf"), text, 0o600)
}

// mine WORKER [SHARES]: a miner connects, submits shares, each a block, and leaves.
func mine(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: mine worker [shares]")
	}
	n := 1
	if len(args) > 1 {
		var err error
		n, err = strconv.Atoi(args[1])
		ts.Check(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ts.Check(submit(ctx, "127.0.0.1:"+ts.Getenv("PORT"), args[0], n))
}

func submit(ctx context.Context, pool, worker string, count int) error {
	c, err := client.Dial(ctx, client.Endpoint{URL: pool, User: worker, Password: "x"}, client.Options{UserAgent: "script/1"})
	if err != nil {
		return err
	}
	defer c.Close()
	for e := range c.Events() {
		j, ok := e.(client.Notify)
		if !ok {
			continue
		}
		target := difficulty.TargetFromDifficulty(j.Difficulty)
		s := client.Share{NTime: j.NTime, Extranonce2: make([]byte, j.Extranonce.Extranonce2Len)}
		var search miner.Search
		h := miner.NewHasher()
		h.Start(&search, &j.Notify, j.Extranonce.Extranonce1, s.Extranonce2, j.Version)
		if _, found := h.Find(&search, &target, 1<<20); !found {
			return errors.New("no share found")
		}
		s.Nonce = search.Nonce
		reject, err := j.Submit(ctx, s)
		if err == nil && reject != nil {
			if reject.Code == 21 { // there is another block by now
				continue
			}
			err = fmt.Errorf("share rejected: %v", reject)
		}
		if count--; err != nil || count == 0 {
			return err
		}
	}
	return errors.New("connection closed")
}

// waitFor FILE PATTERN: until the file, which may not be there yet, has a match.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitfor file pattern")
	}
	pattern := regexp.MustCompile("(?m)" + args[1])
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

// stored SHARES ARG...: until ckdb status with these options tells of so many shares,
// and none behind.
func stored(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: stored shares [option...]")
	}
	text, want := "", fmt.Sprintf(`"total":{.*"shares":%s,`, args[0])
	wait.Until(ts, patience, args[0]+" shares stored", func() bool {
		if err := ts.Exec("ckdb", append(args[1:], "--json", "status")...); err != nil {
			return false
		}
		text = ts.ReadFile("stdout")
		return regexp.MustCompile(want).MatchString(text) && !regexp.MustCompile(`"behind_shares":[1-9]`).MatchString(text)
	})
}

// shown PATTERN ARG...: until ckdb status with these options prints a match.
func shown(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: shown pattern [option...]")
	}
	pattern := regexp.MustCompile("(?m)" + args[0])
	wait.Until(ts, patience, "shown: "+args[0], func() bool {
		return ts.Exec("ckdb", append(args[1:], "status")...) == nil && pattern.MatchString(ts.ReadFile("stdout"))
	})
}

// until PATTERN ARG...: until ckdb with these arguments prints a match, whatever its exit status.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until pattern argument...")
	}
	pattern := regexp.MustCompile("(?m)" + args[0])
	wait.Until(ts, patience, strings.Join(args[1:], " ")+" prints "+args[0], func() bool {
		_ = ts.Exec("ckdb", args[1:]...)
		return pattern.MatchString(ts.ReadFile("stdout"))
	})
}

// signals DIR: sends a signal to the instance whose socket directory it is.
func signals(s syscall.Signal) func(ts *testscript.TestScript, neg bool, args []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: sigterm|sigkill|sighup|sigusr1 directory")
		}
		pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(filepath.Join(args[0], "main.pid"))))
		ts.Check(err)
		ts.Check(syscall.Kill(pid, s))
	}
}
