package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/bench"
	"github.com/ckpool/ckpool/internal/testkit/wait"
)

// A proxy that is to mine for itself, by another name, or for one that mines for it, says so
// and goes on with the pool that it has: nobody is ever given work that goes round.
func TestProxyLoop(t *testing.T) {
	t.Parallel()
	pool := startFaultyPool(t, ofPool)
	proxy := pool.before(ofProxy)
	second := proxy.before(ofProxy)
	_, port, _ := strings.Cut(proxy.addr, ":")
	places := map[string]string{
		"localhost:" + port: "that is this instance itself",
		second.addr:         "what it gives is work of this instance: one mines for the other",
	}
	ask := func(command string, reply any) {
		t.Helper()
		text, err := wait.Reply(t.Context(), control.Dial(proxy.sockets(), "", "generator"), command)
		if err != nil || json.Unmarshal([]byte(text), reply) != nil || strings.Contains(text, "errormsg") {
			t.Fatalf("%s: %q, %v", command, text, err)
		}
	}
	for url := range places {
		var added control.ProxyAccount
		ask(fmt.Sprintf(`addproxy={"url":%q,"auth":"round","pass":"x"}`, url), &added)
		ask(fmt.Sprintf(`setproxy={"id":%d,"priority":0}`, added.ID), new(control.ProxyConnection))
	}
	k := &tally{}
	r, err := bench.Shares(t.Context(), bench.SharesConfig{Options: second.load(20), Window: 1, Rate: 200, Answered: k.answered,
		During: func(context.Context, func() time.Duration) error {
			proxy.await("both are refused", func() bool {
				var list control.ProxyList
				ask("list", &list)
				refused := 0
				for _, p := range list.Proxies {
					if want, loops := places[p.URL]; loops && p.Reason == want && !p.Alive && !p.Active {
						refused++
					} else if !loops && !p.Active {
						t.Errorf("the pool is not mined for: %+v", p)
					}
				}
				return refused == len(places)
			})
			before := pool.accepted()
			proxy.await("shares go on to the pool", func() bool { return pool.accepted() >= before+20 })
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Failed() || r.Rejected > 0 {
		t.Errorf("%d accepted, %d rejected: %v", r.Accepted, r.Rejected, r.Rejects)
	}
}
