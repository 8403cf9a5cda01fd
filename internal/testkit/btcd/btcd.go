// Package btcd runs btcd, a full bitcoin node written in Go, as a regtest node
// of one's own: it builds the pinned version, starts and stops the process,
// speaks its RPC, mines blocks on it and makes transactions for them. It knows
// nothing of the pool.
//
// btcd differs from Bitcoin Core where a pool meets it: errors come with HTTP
// status 200, submitblock answers null even for a block that is not on the best
// chain, a template shows new transactions only after a new tip or up to a
// minute later, and there is none at all while the tip is older than a day.
package btcd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/port"
)

// Options of a node. The zero value is a lone node on free ports that pays the
// blocks it generates to the wallet of [NewWallet] with an empty seed.
type Options struct {
	// RPC is the host:port of the RPC server; empty: a free port of 127.0.0.1.
	RPC string
	// P2P accepts other nodes on a free port of 127.0.0.1, see [Node.P2P].
	P2P bool
	// Connect lists the P2P addresses of nodes to connect to.
	Connect []string
	// Wallet is paid by generated blocks and signs transactions.
	Wallet *Wallet
	// User and Password of the RPC server; empty: ckpool and a random one.
	User, Password string
}

// Node is a running btcd. Its methods may be called from any goroutine.
type Node struct {
	// immutable
	RPC, P2P   string // host:port; P2P empty without Options.P2P
	User, Pass string // of the RPC server
	Wallet     *Wallet

	dir    string
	cmd    *exec.Cmd
	http   *http.Client
	exited chan struct{} // closed when the process is gone
	exit   error         // why; read after exited

	// guarded by mu
	mu    sync.Mutex
	saved map[string]bool // hashes of blocks that are in the file of Save
}

// Attach is a view on a node that somebody else started: what speaks RPC works,
// what concerns the process does not.
func Attach(rpc, user, password string) *Node {
	return &Node{RPC: rpc, User: user, Pass: password, Wallet: NewWallet(""), http: &http.Client{}}
}

// Start builds btcd if necessary and runs it with its data in dir. A node
// started again in the same directory continues its chain as far as it was
// saved, see [Node.Save].
// ctx bounds the start, not the life of the node; the node ends by [Node.Stop],
// [Node.Kill] or with the calling process.
func Start(ctx context.Context, dir string, o Options) (*Node, error) {
	path, err := Build(ctx)
	if err != nil {
		return nil, err
	}
	if o.Wallet == nil {
		o.Wallet = NewWallet("")
	}
	if o.User == "" {
		o.User = "ckpool"
	}
	if o.Password == "" {
		o.Password = rand.Text()
	}
	const attempts = 3 // another process may take a free port before btcd does
	for i := 1; ; i++ {
		n, err := start(ctx, path, dir, o)
		if err == nil || i == attempts || o.RPC != "" || ctx.Err() != nil {
			return n, err
		}
	}
}

func start(ctx context.Context, path, dir string, o Options) (*Node, error) {
	n := &Node{
		RPC:    o.RPC,
		User:   o.User,
		Pass:   o.Password,
		Wallet: o.Wallet,
		dir:    dir,
		http:   &http.Client{},
		exited: make(chan struct{}),
		saved:  map[string]bool{},
	}
	var err error
	if n.RPC == "" {
		if n.RPC, err = freeAddr(); err != nil {
			return nil, err
		}
	}
	args := []string{
		"--regtest", "--configfile=" + os.DevNull,
		"--datadir=" + filepath.Join(dir, "data"), "--logdir=" + filepath.Join(dir, "logs"),
		"--notls", "--rpclisten=" + n.RPC, "--rpcuser=" + n.User, "--rpcpass=" + n.Pass,
		"--rpcmaxclients=200", "--rpcmaxconcurrentreqs=200",
		"--miningaddr=" + n.Wallet.Address(),
		"--nodnsseed", "--nobanning", "--nostalldetect", "--trickleinterval=100ms",
		"--utxocachemaxsize=1", // it is allocated at start
	}
	if o.P2P {
		if n.P2P, err = freeAddr(); err != nil {
			return nil, err
		}
		args = append(args, "--listen="+n.P2P)
	} else {
		args = append(args, "--nolisten")
	}
	for _, peer := range o.Connect {
		args = append(args, "--connect="+peer)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("btcd: %w", err)
	}
	out, err := os.OpenFile(n.output(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("btcd: %w", err)
	}
	defer out.Close()
	n.cmd = exec.Command(path, args...)
	n.cmd.Stdout, n.cmd.Stderr = out, out
	// A group of its own keeps the terminal's Ctrl-C away, the death signal
	// leaves no node behind when the caller is killed.
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := n.cmd.Start(); err != nil {
		return nil, fmt.Errorf("btcd: %w", err)
	}
	go func() {
		n.exit = n.cmd.Wait()
		close(n.exited)
	}()
	err = n.ready(ctx)
	if err == nil {
		err = n.restore(ctx)
	}
	if err != nil {
		n.Kill()
		return nil, err
	}
	return n, nil
}

// ready waits until RPC answers.
func (n *Node) ready(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := n.BlockCount(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-n.exited:
			return fmt.Errorf("btcd ended while starting: %v: %s", n.exit, n.complaints())
		case <-ctx.Done():
			return fmt.Errorf("btcd not ready: %w: %v", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Exited is closed when the process has ended, for whatever reason.
func (n *Node) Exited() <-chan struct{} { return n.exited }

// Stop saves the chain, ends the node in order and waits until it is gone; it is
// killed if that takes longer than a minute.
func (n *Node) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.Save(ctx); err != nil {
		n.Kill()
		return err
	}
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop btcd: %w", err)
	}
	select {
	case <-n.exited:
		return nil
	case <-ctx.Done():
		n.Kill()
		return errors.New("btcd did not stop within a minute and was killed")
	}
}

// Kill ends the node at once, as a power cut would, and waits until it is gone.
func (n *Node) Kill() {
	_ = n.cmd.Process.Kill()
	<-n.exited
}

// Pid is the process id.
func (n *Node) Pid() int { return n.cmd.Process.Pid }

func (n *Node) output() string { return filepath.Join(n.dir, "btcd.out") }

// complaints are the warnings and errors of the output, on one line.
func (n *Node) complaints() string {
	b, err := os.ReadFile(n.output())
	if err != nil {
		return err.Error()
	}
	var found []string
	for line := range strings.Lines(string(b)) {
		if !strings.Contains(line, "[INF]") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return strings.Join(found, "; ")
}

func freeAddr() (string, error) {
	p, err := port.Free()
	return net.JoinHostPort("127.0.0.1", p), err
}
