// Package bitcoind talks to bitcoin nodes: RPC client, group of nodes with
// failover, watching for a new tip, submitting blocks. It never logs and knows
// no miner; what happens is told through Config.Event.
package bitcoind

import (
	"context"
	"time"

	"ckpool/work"
)

// Config is one node.
type Config struct {
	URL        string // host:port, scheme optional, default port 80
	User, Pass string
	Cookie     string   // path; re-read on 401 and when its mtime changes
	Notify     bool     // true: poll slowly (5 s) only
	ZMQ        []string // tcp://host:port
}

// Options of clients and groups; zero values mean the defaults.
type Options struct {
	TemplateTimeout, SubmitTimeout, Timeout time.Duration // 20 s, 60 s, 10 s
	BlockPoll                               time.Duration // 100 ms
	SaveDir                                 string        // where undecided blocks are kept
	Event                                   func(Event)   // called from any goroutine, must not block
}

// Event is something an operator wants to read: one line, with a level.
type Event struct {
	Level int // syslog 0..7
	Text  string
}

// RPCError is a node's error answer.
type RPCError struct {
	Code    int
	Message string
	Status  int // HTTP status
}

// Client is one node's RPC client; safe for concurrent use. Separate
// connections for templates, submissions and the rest.
type Client struct{}

func NewClient(c Config, o Options) *Client { panic("skeleton") }

func (c *Client) Call(ctx context.Context, result any, method string, params ...any) error {
	panic("skeleton")
}
func (c *Client) Template(ctx context.Context, longPollID string) (*work.Template, error) {
	panic("skeleton")
}
func (c *Client) SubmitBlock(ctx context.Context, block []byte) (string, error) { panic("skeleton") }
func (c *Client) BlockHash(ctx context.Context, height int64) ([32]byte, error) { panic("skeleton") }
func (c *Client) BestBlockHash(ctx context.Context) ([32]byte, error)           { panic("skeleton") }

// Group is an ordered list of nodes: health, choice, tips, submission.
type Group struct{}

func NewGroup(nodes []Config, o Options) (*Group, error) { panic("skeleton") }

// Run watches all nodes until ctx ends.
func (g *Group) Run(ctx context.Context) error { panic("skeleton") }

// Templates delivers a new template of the current node whenever the tip
// changed or Refresh asked; only the newest unread one is kept.
func (g *Group) Templates() <-chan Update { panic("skeleton") }

// Update is one template of the followed node.
type Update struct {
	Template *work.Template
	NewTip   bool
	Node     string
	Answered time.Time // when the last byte of the answer was read
}

// Refresh asks for a template now (timer, operator, notifier, own block).
func (g *Group) Refresh(reason string) { panic("skeleton") }

// Chain is the followed chain's name as Bitcoin Core calls it, "" unknown yet.
func (g *Group) Chain() string { panic("skeleton") }

// NodeStatus is for control and status.
type NodeStatus struct {
	URL, State, Reason, Version string // State: ok, starting, syncing, no peers, lagging, unreachable, wrong chain
	Current                     bool
	Height                      int64
	Latency                     time.Duration
}

func (g *Group) Status() []NodeStatus { panic("skeleton") }

// BlockState is what is known of a submitted block.
type BlockState struct {
	State         string // pending, confirmed, orphaned, rejected
	Confirmations int64
	Text          string
}

// Submit starts submission of a solved block to every node at once, saves it
// under SaveDir in parallel, retries until decided, and reports each change.
func (g *Group) Submit(height int64, hash [32]byte, block []byte, changed func(BlockState)) {
	panic("skeleton")
}

// Follow watches an earlier block to 100 confirmations.
func (g *Group) Follow(height int64, hash [32]byte, changed func(BlockState)) { panic("skeleton") }
