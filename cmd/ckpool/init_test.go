package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/port"
	"github.com/ckpool/ckpool/internal/testkit/wait"
)

// dialog is ckpool init on a terminal of its own, which has all that is printed.
type dialog struct {
	t        *testing.T
	dir      string // where it runs; home is in it
	keyboard *os.File
	ended    chan error

	mu     sync.Mutex
	screen string // guarded by mu
	seen   int    // bytes of it; owned by the test
}

// openDialog runs "ckpool init" with these arguments until the end of the test.
func openDialog(t *testing.T, dir string, args ...string) *dialog {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no pseudo terminals:", err)
		}
		t.Skip("no pseudo terminals:", err)
	}
	t.Cleanup(func() { keyboard.Close() })
	conn, err := keyboard.SyscallConn() // Fd would make reading it block for ever
	if err != nil {
		t.Fatal(err)
	}
	var number int
	controlErr := conn.Control(func(fd uintptr) {
		if number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN); err == nil {
			err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0)
		}
	})
	if controlErr != nil || err != nil {
		t.Fatal(controlErr, err)
	}
	tty, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	d := &dialog{t: t, dir: dir, keyboard: keyboard, ended: make(chan error, 1)}
	c := exec.Command("ckpool", append([]string{"init"}, args...)...)
	c.Dir, c.Stdin, c.Stdout, c.Stderr = dir, tty, tty, tty
	c.Env = append(os.Environ(), "HOME="+filepath.Join(dir, "home"))
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan struct{})
	go func() { d.ended <- c.Wait(); close(waited) }()
	t.Cleanup(func() {
		_ = c.Process.Kill() // it may have ended
		<-waited
	})
	go func() { // ends when the terminal is closed
		buffer := make([]byte, 4096)
		for {
			n, err := keyboard.Read(buffer)
			d.mu.Lock()
			d.screen += string(buffer[:n])
			d.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return d
}

func (d *dialog) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.ReplaceAll(d.screen, "\r", "")
}

// expect waits for a text behind the one that was waited for before.
func (d *dialog) expect(want string) {
	d.t.Helper()
	defer func() {
		if d.t.Failed() {
			d.t.Logf("the screen:\n%s", d.text())
		}
	}()
	wait.Until(d.t, patience, fmt.Sprintf("%q appears", want), func() bool {
		text := d.text()
		i := strings.Index(text[d.seen:], want)
		if i < 0 {
			return false
		}
		d.seen += i + len(want)
		return true
	})
}

// answer waits for a question and types.
func (d *dialog) answer(question, keys string) {
	d.t.Helper()
	d.expect(question)
	if _, err := d.keyboard.WriteString(keys); err != nil {
		d.t.Fatal(err)
	}
}

// end waits for the end of the program.
func (d *dialog) end() error {
	d.t.Helper()
	select {
	case err := <-d.ended:
		return err
	case <-time.After(patience):
		d.t.Fatalf("it does not end; the screen:\n%s", d.text())
		return nil
	}
}

// files are those that were left, but for what was there.
func (d *dialog) files() (names []string) {
	d.t.Helper()
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "home" {
			names = append(names, e.Name())
		}
	}
	return names
}

// nodeAtHome starts a node whose files are where Bitcoin Core has them.
func nodeAtHome(t *testing.T, dir string) *fakenode.Node {
	t.Helper()
	data := filepath.Join(dir, "home", ".bitcoin")
	if err := os.MkdirAll(filepath.Join(data, "regtest"), 0o700); err != nil {
		t.Fatal(err)
	}
	n, err := fakenode.Start(fakenode.Config{User: "user", Password: "p4ss", CookieFile: filepath.Join(data, "regtest", ".cookie")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	_, port, err := net.SplitHostPort(n.Addr())
	if err != nil {
		t.Fatal(err)
	}
	conf := "[regtest]\nrpcport=" + port + "\n"
	if err := os.WriteFile(filepath.Join(data, "bitcoin.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	return n
}

const (
	askNode    = "Bitcoin node: "
	askAddress = "Address that blocks pay, or solo for the miner who finds one: "
	askPage    = "Page for browsers, host:port or none [127.0.0.1:8080]: "
	askSecret  = "Password of user: "
)

// Every question is asked again after an answer that is none, which is told.
func TestInitAsks(t *testing.T) {
	dir := t.TempDir()
	n := nodeAtHome(t, dir)
	listen, page := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	d := openDialog(t, dir, "--listen", listen)
	d.expect("On this machine there is:\n  1  " + n.Addr() + "  regtest, height 1,000, in sync, cookie " + filepath.Join(dir, "home/.bitcoin/regtest/.cookie") + "\n")
	d.answer("or host:port [1]: ", "2\n")
	d.expect("node: want http://user:pass@host:port, https likewise, or the node's cookie file")
	d.answer("[1]: ", "/nowhere/.cookie@"+n.Addr()+"\n")
	d.expect("node " + n.Addr() + ": cookie file /nowhere/.cookie: no such file or directory: is the node running")
	d.answer("[1]: ", "\n")
	d.answer(askAddress, "\n")
	d.expect("There is no default")
	d.answer(askAddress, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4\n")
	d.expect("it is not an address of the node's chain \"regtest\"")
	d.answer(askAddress, "nobody\n")
	d.expect(`want a bitcoin address, got "nobody": `)
	d.answer(askAddress, address+"\n")
	d.answer(askPage, "8080\n")
	d.expect(`want host:port, such as "127.0.0.1:8080", got "8080"`)
	d.answer(askPage, page+"\n")
	d.expect("ckpool.conf: no errors\n")
	d.expect("The page is at http://" + page + "/ then.\n")
	if err := d.end(); err != nil {
		t.Error(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "ckpool.conf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"btcd": [{"url": "` + n.Addr() + `", "cookie": "` + filepath.Join(dir, "home/.bitcoin/regtest/.cookie") + `"}],`,
		`"btcaddress": "` + address + `",`, `"serverurl": [{"url": "` + listen + `"}],`, `"http": "` + page + `",`,
	} {
		if !strings.Contains(string(got), "\n\t"+want+"\n") {
			t.Errorf("the file lacks %s:\n%s", want, got)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "ckpool.conf")); err != nil || info.Mode().Perm()&0o600 != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// A password is asked for, and on no screen.
func TestInitPassword(t *testing.T) {
	dir := t.TempDir()
	n := nodeAtHome(t, dir)
	if err := os.RemoveAll(filepath.Join(dir, "home", ".bitcoin")); err != nil {
		t.Fatal(err)
	}
	d := openDialog(t, dir, "--solo", "--listen", "127.0.0.1:"+freePort(t), "--http", "")
	d.expect("No node is found in " + filepath.Join(dir, "home/.bitcoin") + ".\n")
	d.answer("or host:port: ", "http://user@"+n.Addr()+"\n")
	d.answer(askSecret, "wr0ng\n")
	d.expect("refuses the user or password (HTTP 401)")
	d.answer("or host:port: ", "localhost\n")
	d.expect("node localhost: the port is missing; Bitcoin Core has 8332 on main")
	d.answer("or host:port: ", n.Addr()+"\n")
	d.answer("rpcuser in bitcoin.conf: ", "user\n")
	d.answer(askSecret, "p4ss\n")
	d.expect("Node " + n.Addr() + ": regtest, height 1,000, in sync\n")
	d.expect("To start the pool:")
	if err := d.end(); err != nil {
		t.Error(err)
	}
	if text := d.text(); strings.Contains(text, "p4ss") || strings.Contains(text, "wr0ng") {
		t.Errorf("the password is on the screen:\n%s", text)
	}
	info, err := os.Stat(filepath.Join(dir, "ckpool.conf"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// Whoever leaves at any question leaves nothing, and his terminal shows what he types.
func TestInitLeft(t *testing.T) {
	for _, key := range []struct{ name, keys string }{{"control-D", "\x04"}, {"control-C", "\x03"}} {
		for questions, last := range []string{"[1]: ", askAddress, askPage, askSecret} {
			t.Run(fmt.Sprint(key.name, " ", questions), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				n := nodeAtHome(t, dir)
				d := openDialog(t, dir, "--listen", "127.0.0.1:"+freePort(t))
				switch last {
				case askSecret:
					d.answer("[1]: ", "http://user@"+n.Addr()+"\n")
				case askPage:
					d.answer("[1]: ", "\n")
					d.answer(askAddress, "solo\n")
				case askAddress:
					d.answer("[1]: ", "\n")
				}
				d.answer(last, key.keys)
				if err := d.end(); err == nil {
					t.Error("status 0")
				}
				if key.keys == "\x04" {
					d.expect("ckpool init: the input has ended, nothing is written\n")
				}
				if names := d.files(); len(names) > 0 {
					t.Errorf("left: %q", names)
				}
				settings := d.settings()
				if settings.Lflag&unix.ECHO == 0 || settings.Lflag&unix.ICANON == 0 {
					t.Errorf("the terminal's settings are %+v", settings)
				}
			})
		}
	}
}

func (d *dialog) settings() (s *unix.Termios) {
	d.t.Helper()
	conn, err := d.keyboard.SyscallConn()
	if err != nil {
		d.t.Fatal(err)
	}
	if controlErr := conn.Control(func(fd uintptr) { s, err = unix.IoctlGetTermios(int(fd), unix.TCGETS) }); controlErr != nil || err != nil {
		d.t.Fatal(controlErr, err)
	}
	return s
}

func freePort(t *testing.T) string {
	t.Helper()
	p, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What was written for a real node starts a pool that a miner mines on.
func TestInitMines(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := testkit.StartBtcd(t, btcd.Options{})
	n.Generate(1)
	data := filepath.Join(dir, "home", ".bitcoin")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	_, rpcPort, err := net.SplitHostPort(n.RPC)
	if err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf("regtest=1\nrpcuser=%s\nrpcpassword=%s\nregtest.rpcport=%s\n", n.User, n.Pass, rpcPort)
	if err := os.WriteFile(filepath.Join(data, "bitcoin.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	listen := "127.0.0.1:" + freePort(t)
	d := openDialog(t, dir, "--listen", listen, "--http", "")
	d.expect("regtest, height 1, in sync, user and password of bitcoin.conf")
	d.answer("[1]: ", "\n")
	d.answer(askAddress, n.Wallet.Address()+"\n")
	d.expect("To start the pool:")
	if err := d.end(); err != nil {
		t.Fatal(err)
	}

	pool := exec.Command("ckpool", "-q", "-s", filepath.Join(dir, "sockets"))
	pool.Dir = dir
	if err := pool.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- pool.Wait() }()
	defer func() {
		_ = pool.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			_ = pool.Process.Kill()
			t.Error("the pool does not end")
		}
	}()
	wait.Until(t, patience, "the pool listens", func() bool {
		c, err := net.Dial("tcp", listen)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := submitEasy(ctx, listen, "alice.rig1", "d=0.0001"); err != nil {
		t.Fatal(err)
	}
	// Every share is a block there: it pays the address that was typed.
	wait.Until(t, patience, "the node has the block", func() bool {
		height, err := n.Node.BlockCount(ctx)
		return err == nil && height == 2
	})
	if got := n.BlockAt(2).Transactions[0].TxOut[0].PkScript; string(got) != string(n.Wallet.Script()) {
		t.Errorf("the block pays %x", got)
	}
}
