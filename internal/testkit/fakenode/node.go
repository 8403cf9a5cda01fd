// Package fakenode is a bitcoin node that is none: it answers the calls a pool
// makes as Bitcoin Core does, recorded byte for byte from one, over a chain of
// blocks it makes up or is given by submitblock. It serves what a real node on
// this machine cannot: templates of thousands of transactions at any
// difficulty, other networks, ZMQ, and every kind of failure on demand. A
// submitted block is checked as far as a pool can get it wrong: proof of work,
// merkle root, height, witness commitment, transactions and reward; scripts and
// signatures are not.
package fakenode

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
)

// Config is what a node is started with; zero values mean what is said.
type Config struct {
	Listen       string // host:port; empty: a free port of 127.0.0.1
	ZMQ          string // host:port of the hashblock publisher; empty: none; port 0: a free one
	Chain        string // main, test, testnet4, signet, regtest as getblockchaininfo says; empty: regtest
	Bits         uint32 // compact target of every block; 0: 207fffff
	Height       int64  // of the tip at start; 0: 1000
	Transactions int    // in every template
	Version      uint32 // of the template; 0: 20000000
	VBRequired   uint32
	User         string // with Password, beside the cookie
	Password     string
	CookieFile   string // written at start; empty: no cookie
	NoLongPoll   bool   // templates have no longpollid
}

// Node is a running fake node. Its methods may be called from any goroutine.
type Node struct {
	// immutable
	config   Config
	listener net.Listener
	server   *http.Server
	zmq      *Publisher
	served   chan struct{} // closed when the server has ended
	done     sync.WaitGroup

	chain *chain
	faults

	// guarded by mu
	mu          sync.Mutex
	claimed     string // name of the chain it says it is on
	cookie      string
	replay      map[string][]byte
	calls       map[string]int
	submissions []Submission
}

// Start runs a node until Close.
func Start(c Config) (*Node, error) {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if c.Chain == "" {
		c.Chain = "regtest"
	}
	if c.Bits == 0 {
		c.Bits = 0x207fffff
	}
	if c.Height == 0 {
		c.Height = 1000
	}
	if c.Version == 0 {
		c.Version = 0x20000000
	}
	if _, known := networks[c.Chain]; !known {
		return nil, fmt.Errorf("fake node: unknown chain %q", c.Chain)
	}
	n := &Node{
		config:  c,
		served:  make(chan struct{}),
		claimed: c.Chain,
		replay:  map[string][]byte{},
		calls:   map[string]int{},
	}
	n.faults.change = make(chan struct{})
	n.chain = newChain(c, newMempool(c.Transactions), n.announce)
	if c.CookieFile != "" {
		if err := n.RotateCookie(); err != nil {
			return nil, err
		}
	}
	var err error
	if n.listener, err = net.Listen("tcp", c.Listen); err != nil {
		return nil, fmt.Errorf("fake node: %w", err)
	}
	if c.ZMQ != "" {
		if n.zmq, err = NewPublisher(c.ZMQ); err != nil {
			n.listener.Close()
			return nil, err
		}
	}
	n.server = &http.Server{Handler: n, IdleTimeout: 30 * time.Second}
	go func() {
		defer close(n.served)
		_ = n.server.Serve(n.listener)
	}()
	n.done.Go(func() { n.chain.prepare(n.served) })
	return n, nil
}

// Close ends the node at once, as a crash would: connections are cut.
func (n *Node) Close() {
	n.ClearFault() // frees hanging calls
	n.server.Close()
	<-n.served
	n.done.Wait()
	if n.zmq != nil {
		n.zmq.Close()
	}
}

// Addr is the host:port of the RPC server.
func (n *Node) Addr() string { return n.listener.Addr().String() }

// ZMQ is the endpoint of the publisher, tcp://host:port; empty without one.
func (n *Node) ZMQ() string {
	if n.zmq == nil {
		return ""
	}
	return "tcp://" + n.zmq.Addr()
}

// Publisher is the ZMQ publisher, nil without one.
func (n *Node) Publisher() *Publisher { return n.zmq }

// RotateCookie writes a new cookie as a restarting node does; the old one is
// refused from now on.
func (n *Node) RotateCookie() error {
	if n.config.CookieFile == "" {
		return errors.New("fake node: no cookie file configured")
	}
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return fmt.Errorf("fake node: %w", err)
	}
	cookie := "__cookie__:" + hex.EncodeToString(secret)
	temp := filepath.Join(filepath.Dir(n.config.CookieFile), ".cookie.tmp")
	if err := os.WriteFile(temp, []byte(cookie), 0o600); err != nil {
		return fmt.Errorf("fake node: %w", err)
	}
	// At once for those who ask: there is no moment with a file that is wrong.
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := os.Rename(temp, n.config.CookieFile); err != nil {
		return fmt.Errorf("fake node: %w", err)
	}
	n.cookie = cookie
	return nil
}

// SetChain changes the chain the node says it is on.
func (n *Node) SetChain(chain string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.claimed = chain
}

// Calls is how often a method has been called; "" counts requests of all kinds,
// also refused ones.
func (n *Node) Calls(method string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls[method]
}

// Replay answers every further call of method with a recorded HTTP answer,
// status line and headers included, and closes the connection; nil ends it.
func (n *Node) Replay(method string, answer []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if answer == nil {
		delete(n.replay, method)
		return
	}
	n.replay[method] = answer
}

// announce tells subscribers of a new tip.
func (n *Node) announce(tip chainhash.Hash) {
	if n.zmq != nil {
		n.zmq.Publish("hashblock", displayed(tip))
	}
}

// NewBlock moves the tip to a block found by somebody else and returns its
// hash, as displayed.
func (n *Node) NewBlock() string { return n.chain.grow().hash.String() }

// Reorg replaces the last depth blocks by depth+1 of somebody else and returns
// the hash of the new tip, as displayed. At most all blocks since the start can
// be replaced.
func (n *Node) Reorg(depth int) (string, error) {
	tip, err := n.chain.reorg(depth)
	if err != nil {
		return "", err
	}
	return tip.hash.String(), nil
}

// Tip is the height and hash, as displayed, of the best block.
func (n *Node) Tip() (height int64, hash string) {
	tip, _, _ := n.chain.now()
	return tip.height, tip.hash.String()
}

// TouchMempool makes long polls answer after their 60 s as if transactions had
// come.
func (n *Node) TouchMempool() { n.chain.touch() }
