package compare

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ckpool/ckpool/internal/bench"
	"github.com/ckpool/ckpool/internal/bench/bare"
	"github.com/ckpool/ckpool/internal/testkit/port"
)

const (
	startTime = 20 * time.Second // of a program
	stopTime  = 10 * time.Second
)

// process is a program that was started and is ended by stop.
type process struct {
	cmd   *exec.Cmd
	lines chan string // of its output; closed when it ends
	out   *os.File
}

// launch starts a program and makes its output lines.
func launch(name string, args ...string) (*process, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(name, args...), lines: make(chan string, 64), out: read}
	p.cmd.Stdout, p.cmd.Stderr = write, write
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	err = p.cmd.Start()
	write.Close()
	if err != nil {
		read.Close()
		return nil, err
	}
	go p.read()
	return p, nil
}

// read takes all output, so that the program never waits; what nobody reads is
// lost.
func (p *process) read() {
	defer close(p.lines)
	in := bufio.NewScanner(p.out)
	for in.Scan() {
		select {
		case p.lines <- in.Text():
		default:
		}
	}
}

// line waits for a line that begins so and returns the rest of it.
func (p *process) line(ctx context.Context, prefix string) (string, error) {
	limit := time.After(startTime)
	var said []string
	for {
		select {
		case l, ok := <-p.lines:
			if !ok {
				return "", fmt.Errorf("%s ended: %s", filepath.Base(p.cmd.Path), strings.Join(said, "; "))
			}
			if rest, found := strings.CutPrefix(l, prefix); found {
				return rest, nil
			}
			said = append(said, l)
		case <-limit:
			return "", fmt.Errorf("%s did not start in %v: %s", filepath.Base(p.cmd.Path), startTime, strings.Join(said, "; "))
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// stop ends the program and waits for it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	patience := time.AfterFunc(stopTime, func() { _ = p.cmd.Process.Kill() })
	for range p.lines {
	}
	_ = p.cmd.Wait()
	patience.Stop()
	p.out.Close()
}

// nodeProcess is the fake node.
type nodeProcess struct {
	*process
	address, zmq string
}

const (
	nodeUser, nodePassword = "user", "pass"
	// hardBits is a target that no share of a measurement meets.
	hardBits = "17025105"
)

func startNode(ctx context.Context, ckbench string, transactions int, changing bool) (*nodeProcess, error) {
	args := []string{"fakenode", "--listen", "127.0.0.1:0", "--zmq", "127.0.0.1:0", "--chain", "main", "--bits", hardBits,
		"--txs", fmt.Sprint(transactions), "--user", nodeUser, "--password", nodePassword}
	if changing {
		args = append(args, "--mempool-interval", "1s")
	}
	p, err := launch(ckbench, args...)
	if err != nil {
		return nil, err
	}
	n := &nodeProcess{process: p}
	at, err := p.line(ctx, "fake node on http://"+nodeUser+":"+nodePassword+"@")
	if err == nil {
		n.address, _, _ = strings.Cut(at, ",")
		n.zmq, err = p.line(ctx, "hashblock on ")
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	return n, nil
}

func (n *nodeProcess) rpc() string {
	return "http://" + nodeUser + ":" + nodePassword + "@" + n.address
}

// server is what is measured.
type server struct {
	kind    kind
	address string
	pid     int
	log     string        // path of the log, empty: none
	sockets string        // directory of control sockets, empty: none
	block   bench.Trigger // nil: blocks cannot be made
	stop    func()
	user    string
	pass    string
	names   string  // chain whose addresses are the worker names
	above   *server // of a proxy: the pool that it mines for
	page    string  // host:port, empty: it has none
}

// options are the load's for so many miners.
func (s *server) options(miners int) bench.Options {
	return bench.Options{Address: s.address, Miners: miners, User: s.user, Password: s.pass, Addresses: s.names, Pid: s.pid}
}

// server starts a server anew, without anything of an earlier one.
func (r *run) server(ctx context.Context, k kind) (*server, error) {
	r.starts++
	switch k {
	case floor:
		return r.startBare(ctx)
	case other:
		return r.takeOther()
	}
	if k == proxy {
		return r.startProxy(ctx)
	}
	return r.startPool(ctx, k, everyHash)
}

const (
	// everyHash makes every hash a share, since it is the pool that is measured and not the
	// hashing of the simulated miners.
	everyHash = 1e-10
	// aboveDifficulty is that of a pool with a proxy before it: of 256 hashes one is a share.
	// It is a power of two, so that sums of it are exact.
	aboveDifficulty = 1.0 / (1 << 24)
)

func (r *run) takeOther() (*server, error) {
	o := r.Other
	s := &server{kind: other, address: o.Address, pid: o.Pid, user: o.User, pass: o.Password, stop: func() {}}
	if o.RPC == "" {
		return s, nil
	}
	var err error
	s.block, err = bench.Generate(o.RPC, o.PayTo, false)
	return s, err
}

// startBare starts the bare loop; a connection of its own makes its blocks.
func (r *run) startBare(ctx context.Context) (*server, error) {
	text, err := json.Marshal(r.answers)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(r.dir, "answers.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	listen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p, err := launch(r.Ckbench, "bare", "--answers", file, "--listen", listen)
	if err != nil {
		return nil, err
	}
	at, err := p.line(ctx, "bare loop on ")
	if err != nil {
		p.stop()
		return nil, err
	}
	address, _, _ := strings.Cut(at, ",")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		p.stop()
		return nil, err
	}
	go func() { _, _ = io.Copy(io.Discard, conn) }() // it gets the blocks too
	return &server{
		kind: floor, address: address, pid: p.cmd.Process.Pid, user: "bench", pass: "x",
		block: func(context.Context) error {
			_, err := io.WriteString(conn, bare.BlockLine)
			return err
		},
		stop: func() {
			conn.Close()
			p.stop()
		},
	}, nil
}

// poolSettings have one difficulty for all, and no port with another.
const poolSettings = `{
	"btcd": [{"url": %q, "auth": %q, "pass": %q, "zmq": %q}],
	"btcaddress": "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
	"serverurl": [%q], "logdir": %q,
	"mindiff": %[7]g, "startdiff": %[7]g, "maxdiff": %[7]g, "highdiff": %[7]g, "update_interval": %[8]d, "journal": %[9]q, "http": %[10]q
}`

// proxySettings take every hash for a share.
const proxySettings = `{
	"proxy": [{"url": %q, "auth": "farm", "pass": "x"}],
	"serverurl": [%q], "logdir": %q,
	"mindiff": %[4]g, "startdiff": %[4]g, "maxdiff": %[4]g, "highdiff": %[4]g
}`

// startPool starts a pool whose shares have a difficulty.
func (r *run) startPool(ctx context.Context, k kind, difficulty float64) (*server, error) {
	interval := 30
	if r.changing {
		interval = 1
	}
	journal := ""
	if k == journaled {
		journal = "journal"
	}
	page := ""
	if k == shown {
		interval = 3600 // new work in one of two measurements that are compared would be all their difference
		var err error
		if page, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	block, err := bench.Generate(r.node.rpc(), "", false)
	if err != nil {
		return nil, err
	}
	names, mode := "", []string{}
	if k == solo {
		names, mode = "main", []string{"-B"}
	}
	s, err := r.launchPool(ctx, k, func(address, logs string) string {
		return fmt.Sprintf(poolSettings, r.node.address, nodeUser, nodePassword, r.node.zmq, address, logs, difficulty, interval, journal, page)
	}, names, mode...)
	if err == nil {
		s.block, s.page = block, page
	}
	return s, err
}

// startProxy starts a pool and a proxy before it.
func (r *run) startProxy(ctx context.Context) (*server, error) {
	above, err := r.startPool(ctx, pool, aboveDifficulty)
	if err != nil {
		return nil, err
	}
	r.starts++
	s, err := r.launchPool(ctx, proxy, func(address, logs string) string {
		return fmt.Sprintf(proxySettings, above.address, address, logs, everyHash)
	}, "", "-p")
	if err != nil {
		above.stop()
		return nil, err
	}
	stop := s.stop
	s.above, s.stop = above, func() {
		stop()
		above.stop()
	}
	return s, nil
}

// launchPool starts ckpool in a directory of its own and waits until it gives work.
// settings are those for an address and a directory of logs.
func (r *run) launchPool(ctx context.Context, k kind, settings func(address, logs string) string, names string, mode ...string) (*server, error) {
	dir := filepath.Join(r.dir, fmt.Sprint("pool", r.starts))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	logs, file := filepath.Join(dir, "logs"), filepath.Join(dir, "ckpool.conf")
	if err := os.WriteFile(file, []byte(settings(address, logs)), 0o600); err != nil {
		return nil, err
	}
	s := &server{kind: k, address: address, user: "bench", pass: "x", names: names, sockets: filepath.Join(dir, "sockets"), log: filepath.Join(logs, "ckpool.log")}
	args := append([]string{"-c", file, "-n", "ckpool", "-s", s.sockets, "-q"}, mode...)
	if k != journaled {
		args = append(args, "-A") // a ckdb of this machine is neither asked nor written for
	}
	p, err := launch(r.Ckpool, args...)
	if err != nil {
		return nil, err
	}
	s.pid, s.stop = p.cmd.Process.Pid, p.stop
	if err := r.ready(ctx, s, p); err != nil {
		p.stop()
		return nil, err
	}
	return s, nil
}

// ready waits until a pool gives work, and then until what its start left to do
// is done.
func (r *run) ready(ctx context.Context, s *server, p *process) error {
	end := time.Now().Add(startTime)
	for {
		_, err := bench.Storm(ctx, bench.StormConfig{Options: s.options(1)})
		switch {
		case err == nil:
			return sleep(ctx, r.Size.Settle)
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(end):
			return errors.Join(err, errors.New("the pool did not start"))
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// freeAddress is a port nobody listens on now, and below those that the system
// gives to the thousands of connections of a measurement.
func freeAddress() (string, error) {
	p, err := port.Free()
	return "127.0.0.1:" + p, err
}
