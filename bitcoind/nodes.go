package bitcoind

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
)

// PlanNodes prepares to replace the list of nodes, best first, and returns what
// then does so, which cannot fail. A node whose configuration is in the old list too
// stays connected. One change at a time.
func (g *Group) PlanNodes(nodes []Config) (replace func(), err error) {
	list, err := g.plan(nodes)
	if err != nil {
		return nil, err
	}
	return func() { g.replace(list) }, nil
}

// plan makes a node for each configuration that has none.
func (g *Group) plan(nodes []Config) (list []*node, err error) {
	if len(nodes) == 0 {
		return nil, errors.New("no bitcoin node configured")
	}
	g.mu.Lock()
	old := slices.Clone(g.nodes)
	g.mu.Unlock()
	for _, c := range nodes {
		i := slices.IndexFunc(old, func(n *node) bool { return reflect.DeepEqual(n.config, c) })
		if i >= 0 {
			list = append(list, old[i])
			old = slices.Delete(old, i, i+1)
			continue
		}
		n, err := newNode(c, g.options)
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

// replace follows a new list. Submissions to a node that is no longer in it go
// on, and blocks that no node has yet go to those that are new.
func (g *Group) replace(list []*node) {
	g.mu.Lock()
	added := slices.DeleteFunc(slices.Clone(list), func(n *node) bool { return slices.Contains(g.nodes, n) })
	for _, n := range g.nodes {
		if !slices.Contains(list, n) && n.stop != nil {
			n.stop()
		}
	}
	g.nodes = list
	for i, n := range list {
		n.index = i
		g.start(n)
	}
	if !slices.Contains(list, g.current) {
		g.current = nil
	}
	if !slices.Contains(list, g.source) {
		g.source = nil
	}
	running := g.running != nil
	var undecided []*block
	if !g.ended && len(added) > 0 {
		undecided = slices.Collect(maps.Values(g.blocks))
		g.tasks.Add(1) // see block.sendTo
		defer g.tasks.Done()
	}
	g.mu.Unlock()
	for _, b := range undecided {
		b.offerAlso(added)
	}
	if running {
		g.update(nil)
	}
}

// start begins to watch a node, if the group runs. The caller holds mu.
func (g *Group) start(n *node) {
	if g.running == nil || n.stop != nil {
		return
	}
	ctx, stop := context.WithCancel(g.running)
	n.stop = stop
	w := watcher{&g.tracker, n}
	for _, loop := range []func(context.Context){w.fetchLoop, w.checkLoop, w.callsLoop, w.pollLoop, w.longPollLoop, w.warmLoop} {
		g.loops.Go(func() { loop(ctx) })
	}
	for _, s := range n.subscribers {
		w.connect(s)
		g.loops.Go(func() { s.run(ctx) })
	}
}
