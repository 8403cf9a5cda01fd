package main

import (
	"context"
	"testing"
)

// behind starts a passthrough, or what else args say, before the pool.
func (f *faulty) behind(keys map[string]any, args []string, env ...string) *faulty {
	f.t.Helper()
	all := map[string]any{"proxy": []any{map[string]any{"url": f.addr}}}
	for key, v := range keys {
		all[key] = v
	}
	return startFaultyOn(f.t, 1e-10, all, args, env...)
}

// A passthrough is upgraded ten times under load. Neither its miners nor the pool notice:
// every share is answered once.
func TestUpgradePassthrough(t *testing.T) {
	t.Parallel()
	p := startFaulty(t)
	e := p.behind(nil, []string{"-P"})
	before := p.accepted()
	r := e.mine(func(context.Context) {
		for range 10 {
			e.upgraded()
		}
	})
	p.unharmed(r, before)

}
