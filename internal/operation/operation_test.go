package operation

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/testkit/ckdb"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/port"
)

// programs is the directory with the built programs.
var programs string

func TestMain(m *testing.M) {
	status := 1
	err := build(func() { status = m.Run() })
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

// build makes the programs, calls then and removes them.
func build(then func()) (err error) {
	programs, err = os.MkdirTemp("", "ckbin")
	if err != nil {
		return err
	}
	defer os.RemoveAll(programs)
	arguments := append([]string{"build", "-buildvcs=false"}, buildFlags...)
	arguments = append(arguments, "-o", programs, "github.com/ckpool/ckpool/cmd/ckpool", "github.com/ckpool/ckpool/cmd/ckdb", "github.com/ckpool/ckpool/cmd/ckpmsg", "github.com/ckpool/ckpool/cmd/notifier", "github.com/ckpool/ckpool/cmd/ckbench")
	c := exec.Command("go", arguments...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	if err := os.Symlink("ckpool", filepath.Join(programs, "ckproxy")); err != nil {
		return err
	}
	then()
	return nil
}

// Each script has the programs in its PATH, a node, free ports and the
// configuration ckpool.conf that uses them. Sockets are in $WORK/s.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: setUp,
		Condition: func(name string) (bool, error) {
			if name != "mount" {
				return false, fmt.Errorf("unknown condition %s", name)
			}
			return canMount(), nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"expand": expand, "log": awaitText, "signal": sendSignal, "gone": awaitEnd, "node": controlNode,
			"mine": mine, "ask": ask, "answers": answers, "stall": stall, "listening": listening, "save": save,
			"manager": serviceManager, "same": sameMembers, "close-to": closeMembers, "equal": equal,
			"upgrade": upgrade, "ckpmsg": ckpmsg, "refused": refused, "misconfigured": misconfigured, "limit": limitDescriptors, "hold": hold, "disk": smallDisk, "fill": fill, "database": database,
		},
	})
}

// world is what a script's commands share.
type world struct {
	node    *fakenode.Node
	hangs   bool // the node
	miners  map[string]*scriptMiner
	held    []net.Conn
	manager *net.UnixConn
	said    <-chan string // to the manager
	mounts  []string
	ckdb    *ckdb.Daemon
	limit   unix.Rlimit // of descriptors, before it was changed
}

const worldKey = "world"

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey).(*world) }

const defaultConfig = `{
"btcd": [{"url": "%s", "auth": "user", "pass": "pass"}],
"zmqblock": [],
"btcaddress": "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
"serverurl": ["127.0.0.1:%s"],
"mindiff": 1e-10, "startdiff": 1e-10, "maxdiff": 1e-10
}
`

func setUp(env *testscript.Env) error {
	node, err := fakenode.Start(fakenode.Config{Chain: "main", Bits: 0x1d00ffff, User: "user", Password: "pass"})
	if err != nil {
		return err
	}
	w := &world{node: node, miners: map[string]*scriptMiner{}}
	env.Values[worldKey] = w
	env.Defer(func() { w.close(env.WorkDir) })
	env.Setenv("PATH", programs+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("GORACE", "atexit_sleep_ms=0") // else a process takes a second to end
	env.Setenv("NODE", node.Addr())
	env.Setenv("S", filepath.Join(env.WorkDir, "s"))
	for _, name := range []string{"PORT", "PORT2", "PORT3"} {
		port, err := port.Free()
		if err != nil {
			return err
		}
		env.Setenv(name, port)
	}
	if err := os.Mkdir(filepath.Join(env.WorkDir, "s"), 0o750); err != nil {
		return err
	}
	conf := fmt.Sprintf(defaultConfig, node.Addr(), env.Getenv("PORT"))
	if _, err := os.Stat(filepath.Join(env.WorkDir, "ckpool.conf")); err == nil {
		return nil // the script has its own
	}
	return os.WriteFile(filepath.Join(env.WorkDir, "ckpool.conf"), []byte(conf), 0o600)
}

// close ends what the script started, detached instances too.
func (w *world) close(dir string) {
	for _, m := range w.miners {
		m.close()
	}
	for _, c := range w.held {
		c.Close()
	}
	if w.manager != nil {
		w.manager.Close()
	}
	if w.ckdb != nil {
		w.ckdb.Stop()
	}
	files, _ := filepath.Glob(filepath.Join(dir, "s", "*", "main.pid"))
	for _, f := range files {
		if pid, err := readPID(f); err == nil {
			_ = syscall.Kill(pid, syscall.SIGCONT)
			_ = syscall.Kill(pid, syscall.SIGKILL)
			_ = awaitExit(pid)
		}
	}
	for _, dir := range w.mounts {
		unmount(dir)
	}
	w.node.Close()
}

// tooSlow tells whether what a program has said is that something took too long, as it may
// on a busy machine: everything is as it was before, and it may be tried again.
func tooSlow(text string) bool {
	for _, late := range []string{"takes longer than", "deadline exceeded", "in time", "i/o timeout", "another handover is under way"} {
		if strings.Contains(text, late) {
			return true
		}
	}
	return false
}

func readPID(file string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(b))
}

// patience is longer than the minute in which each file is written once. Only a
// failure takes so long.
const patience = 80 * time.Second

// await polls until done gives no error.
func await(done func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		err := done()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// running is false for zombies: detached instances become init's children. One whose first
// thread has ended is none as long as another has not, such as one that writes to the disk:
// until then what it has open is open.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	if !strings.HasPrefix(after, "Z") && !strings.HasPrefix(after, "X") { // proc(5): ended, and just asked how
		return true
	}
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	return len(threads) > 1
}

func awaitExit(pid int) error {
	return await(func() error {
		if running(pid) {
			return fmt.Errorf("process %d still runs", pid)
		}
		return nil
	})
}
