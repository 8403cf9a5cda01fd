package edge

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/nodework"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/source"
)

// node is what a node has beside a passthrough: bitcoin nodes that blocks go to, and
// statistics of its miners.
type node struct {
	group *bitcoind.Group
	users *users.Users
	work  *nodework.Node
	say   func(error)          // that statistics cannot be written
	moved []source.SolvedBlock // by the process before, which alone had them; owned by who takes over, then by run
}

// newNode prepares it for a number of loops.
func newNode(c *config.Config, loops int, events event.Func, say func(error)) (*node, error) {
	for _, dir := range []string{"pool", "users"} {
		if err := os.MkdirAll(filepath.Join(c.LogDir, dir), 0o750); err != nil {
			return nil, fmt.Errorf("make log directory: %w", err)
		}
	}
	group, err := bitcoind.NewGroup(c.Nodes, bitcoind.Options{
		BlockPoll: c.BlockPoll, SaveDir: filepath.Join(c.LogDir, "pool", "blocks"), Events: events,
	})
	if err != nil {
		return nil, err
	}
	n := &node{group: group, say: say}
	n.users = users.New(users.Config{Settings: usersSettings(c), LogDir: c.LogDir, Loops: loops, Events: events}, time.Now())
	n.work = nodework.NewNode(nodework.Options{Network: group, Announce: group.Announce, Chain: group.Chain, Workers: n.users, Sink: n.users, Loops: loops, Events: events})
	return n, nil
}

// usersSettings is what statistics need of the configuration.
func usersSettings(c *config.Config) users.Settings {
	s := users.Settings{Name: c.PoolTag, MaxUserAgents: c.MaxPoolUserAgents, NameExempt: c.LimitExempt}
	for _, l := range c.Servers {
		s.ListenerURLs = append(s.ListenerURLs, l.URL)
	}
	return s
}

// run serves until ctx ends. What it gets to know then it still does.
func (n *node) run(ctx context.Context) error {
	nodes, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var running sync.WaitGroup
	var err error
	running.Go(func() { err = n.group.Run(nodes) })
	resumed := func(height int64, hash [32]byte, s source.BlockState) {}
	for _, b := range n.moved {
		n.group.Submit(b.Height, b.Hash, b.Serialised, func(source.BlockState) {})
	}
	n.moved = nil
	nothing := func([32]byte) (source.BlockState, string) { return source.BlockState{}, "" }
	if err := n.group.Resume(nothing, resumed); err != nil {
		n.say(fmt.Errorf("cannot read saved blocks: %w", err))
	}
	running.Go(func() { n.keepStatistics(ctx) })
	n.work.Run(ctx)
	end()
	running.Wait()
	return err
}

func (n *node) keepStatistics(ctx context.Context) {
	tick := time.NewTicker(users.TickInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if err := n.users.Tick(now, users.Sessions{}); err != nil {
				n.say(fmt.Errorf("cannot write statistics: %w", err))
			}
		}
	}
}

// unsaved names the found blocks that no node and no file has yet; "" none.
func (n *node) unsaved() string {
	list := n.group.Unsaved()
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprintf("block %d and %d more are not saved: this process alone has them until a node takes them", list[0].Height, len(list)-1)
}

// usable sees that files can be written.
func (n *node) usable(logDir string, try func(dir string) error) error {
	return errors.Join(try(filepath.Join(logDir, "pool")), try(filepath.Join(logDir, "users")))
}
