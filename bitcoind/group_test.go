package bitcoind

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	instant = 10 * time.Millisecond
	soon    = 250 * time.Millisecond // a poll and a template
)

func TestFirstTemplate(t *testing.T) {
	inBubble(t, Options{}, func(h *harness) {
		h.expect(instant, "a:1", 10, true)
		if h.Chain() != "regtest" {
			t.Errorf("chain %q", h.Chain())
		}
		h.silent(20 * time.Second)
		s := h.Status()[0]
		if s.State != "ok" || !s.Current || s.Height != 9 || s.Version != "/Satoshi:31.0.0/" || s.URL != "a:1" {
			t.Errorf("status %+v", s)
		}
		h.wantSaid(1, "Server alive: a:1")
		h.wantSaid(1, "Connected to bitcoind: a:1")
		if n := h.fakes[0].count("getblocktemplate"); n != 1 {
			t.Errorf("%d template requests, want 1", n)
		}
		if h.Current().String() != "a:1" {
			t.Errorf("current is %v", h.Current())
		}
	}, newFakeNode(10))
}

// A node in front of the list may take a moment to answer at start.
func TestStartPrefersEarlierNode(t *testing.T) {
	a, b := newFakeNode(10), newFakeNode(10)
	a.delay["getblocktemplate"] = time.Second
	b.chain = "main"
	inBubble(t, Options{}, func(h *harness) {
		h.expect(1100*time.Millisecond, "a:1", 10, true)
		if h.Chain() != "regtest" || h.state(1) != "wrong chain" {
			t.Errorf("chain %q, b is %s", h.Chain(), h.state(1))
		}
		h.wantSaid(1, "bitcoind b:1 is on chain main, but the pool mines on regtest")
	}, a, b)
}

func TestStartWithoutFirstNode(t *testing.T) {
	for name, break_ := range map[string]func(*fakeNode){
		"dead":  func(f *fakeNode) { f.fail[""] = errRefused },
		"hangs": func(f *fakeNode) { f.hang[""] = true },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newFakeNode(10), newFakeNode(10)
			break_(a)
			inBubble(t, Options{}, func(h *harness) {
				h.expect(rankPatience+instant, "b:1", 10, true)
			}, a, b)
		})
	}
}

func TestNewTip(t *testing.T) {
	for name, o := range map[string]struct {
		longPoll bool
		within   time.Duration
	}{
		"poll":      {false, 110 * time.Millisecond},
		"long poll": {true, instant},
	} {
		t.Run(name, func(t *testing.T) {
			a := newFakeNode(10)
			a.noLongPoll = !o.longPoll
			inBubble(t, Options{}, func(h *harness) {
				h.next(instant)
				time.Sleep(time.Millisecond) // the long poll is under way, and the first checks are over
				before := a.count("getblocktemplate")
				for height := 11; height < 15; height++ {
					a.mine()
					h.expect(o.within, "a:1", height, true)
					h.silent(1037 * time.Millisecond)
				}
				want := 4
				if o.longPoll {
					want = 0 // its answer is the template
				}
				if n := a.count("getblocktemplate") - before; n != want {
					t.Errorf("%d template requests for 4 blocks, want %d", n, want)
				}
			}, a)
		})
	}
}

func TestNotifyPollsSlowly(t *testing.T) {
	a := newFakeNode(10)
	a.noLongPoll = true
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Options{}, a)
		h.nodes[0].pollEvery = slowPoll
		h.run(func() {
			h.next(instant)
			a.mine()
			h.expect(slowPoll+instant, "a:1", 11, true)
			h.silent(60 * time.Second)
			if n := a.count("getbestblockhash"); n > 15 {
				t.Errorf("%d polls in 65 s", n)
			}
		})
	})
}

func TestRefresh(t *testing.T) {
	a := newFakeNode(10)
	inBubble(t, Options{}, func(h *harness) {
		h.next(instant)
		h.Refresh("timer")
		h.expect(instant, "a:1", 10, false)
		h.silent(time.Second)

		// However many ask while a request is under way, one more follows.
		a.set(func() { a.delay["getblocktemplate"] = time.Second })
		before := a.count("getblocktemplate")
		for range 5 {
			h.Refresh("notifier")
		}
		synctest.Wait()
		for range 5 {
			h.Refresh("own block")
		}
		h.expect(1100*time.Millisecond, "a:1", 10, false)
		h.expect(1100*time.Millisecond, "a:1", 10, false)
		h.silent(5 * time.Second)
		if n := a.count("getblocktemplate") - before; n != 2 {
			t.Errorf("%d requests, want 2", n)
		}
	}, a)
}

// A reader that is slow must not take a new tip for a refresh.
func TestUnreadUpdateIsReplaced(t *testing.T) {
	a := newFakeNode(10)
	inBubble(t, Options{}, func(h *harness) {
		h.next(instant)
		a.mine()
		time.Sleep(time.Second)
		h.Refresh("timer")
		time.Sleep(time.Second)
		u := h.next(instant)
		if !u.NewTip || u.Template.Height != 11 {
			t.Errorf("new tip %v, height %d", u.NewTip, u.Template.Height)
		}
		h.silent(time.Second)
	}, a)
}

func TestFailover(t *testing.T) {
	a, b := newFakeNode(10), newFakeNode(10)
	inBubble(t, Options{}, func(h *harness) {
		h.expect(instant, "a:1", 10, true)
		time.Sleep(10 * time.Second)
		a.dead(errRefused)
		h.expect(soon, "b:1", 10, false)
		if s := h.state(0); s != "unreachable" {
			t.Errorf("a is %s", s)
		}
		h.wantSaid(1, "Failed over to bitcoind: b:1")
		b.mine()
		h.expect(soon, "b:1", 11, true)
		h.silent(20 * time.Second)

		// Back, but behind: the better node stays.
		a.dead(nil)
		h.silent(20 * time.Second)
		if !h.Status()[1].Current {
			t.Error("went back to lower work")
		}
		a.mine()
		h.expect(checkEvery+soon, "a:1", 11, false)
		h.wantSaid(1, "Failed over to bitcoind: a:1")
		h.wantSaid(2, "Server alive: a:1")
		h.silent(20 * time.Second)
	}, a, b)
}

// A node that hangs is noticed by its time limit.
func TestFailoverFromHangingNode(t *testing.T) {
	a, b := newFakeNode(10), newFakeNode(10)
	inBubble(t, Options{}, func(h *harness) {
		h.expect(instant, "a:1", 10, true)
		a.set(func() { a.hang[""] = true })
		h.expect(11*time.Second, "b:1", 10, false)
		h.wantSaid(1, "bitcoind a:1 no answer within 10s")
	}, a, b)
}

// Errors of calls other than getblocktemplate leave a node in use.
func TestPollErrorsAreNoFailover(t *testing.T) {
	for _, answer := range []string{"503 Work queue depth exceeded", "403 ", `404 {"code":-32601,"message":"Method not found"}`} {
		a, b := newFakeNode(10), newFakeNode(10)
		inBubble(t, Options{}, func(h *harness) {
			h.next(instant)
			a.say("getbestblockhash", answer)
			a.say("getblockchaininfo", answer)
			h.silent(30 * time.Second)
			a.mine()
			h.expect(soon, "a:1", 11, true)
			if !h.Status()[0].Current {
				t.Errorf("%s: failed over", answer)
			}
		}, a, b)
	}
}

// Two good nodes: the one that learns of a block first gives the work, and the
// earlier in the list is followed again once it has the block too.
func TestFirstNodeWithTheTipLeads(t *testing.T) {
	a, b := newFakeNode(10), newFakeNode(10)
	inBubble(t, Options{}, func(h *harness) {
		h.expect(instant, "a:1", 10, true)
		time.Sleep(10 * time.Second)
		b.mine()
		h.expect(soon, "b:1", 11, true)
		a.mine()
		h.silent(20 * time.Second)
		if !h.Status()[0].Current {
			t.Error("a is not followed again")
		}
		if n := a.count("getblocktemplate"); n > 2 {
			t.Errorf("%d template requests to a for work that was there", n)
		}
	}, a, b)
}

// Being on the same tip takes a check: the one that follows the news.
func TestReturnTakesACheck(t *testing.T) {
	a, b := newFakeNode(10), newFakeNode(10)
	a.early = true
	inBubble(t, Options{}, func(h *harness) {
		h.expect(instant, "a:1", 10, true)
		time.Sleep(10 * time.Second)
		b.mine()
		h.expect(soon, "b:1", 11, true)
		a.set(func() { a.delay["getblockchaininfo"] = time.Second })
		a.mine()
		time.Sleep(900 * time.Millisecond)
		if !h.Status()[1].Current {
			t.Error("returned before a check")
		}
		time.Sleep(2 * time.Second)
		if !h.Status()[0].Current {
			t.Error("did not return")
		}
	}, a, b)
}

// More blocks are not more work.
func TestMoreBlocksOfLessWork(t *testing.T) {
	a, b := newFakeNode(10), newFakeNode(10)
	b.work, b.seed = 1, 5
	b.delay["getblockchaininfo"] = time.Second
	inBubble(t, Options{}, func(h *harness) {
		h.expect(2*rankPatience, "a:1", 10, true)
		time.Sleep(10 * time.Second)
		for range 3 {
			b.mine()
			h.silent(5 * time.Second)
		}
		if !h.Status()[0].Current {
			t.Error("followed the longer chain")
		}
		// Nor for the moment in which the work of the newest block is not known.
		a.set(func() { a.delay["getblockchaininfo"] = 2 * time.Second })
		b.set(func() { b.delay["getblockchaininfo"] = 0 })
		time.Sleep(5 * time.Second)
		a.mine()
		h.expect(soon, "a:1", 11, true)
		b.mine()
		h.silent(5 * time.Second)

		a.dead(errRefused)
		h.silent(5 * time.Second)
		a.mine()
		a.dead(nil)
		h.expect(lastPause+soon, "a:1", 12, true)
	}, a, b)
}

// An answer that was under way when a block came tells nothing of the tip.
func TestAnswersCrossWithNews(t *testing.T) {
	a := newFakeNode(10)
	a.early, a.noLongPoll = true, true
	inBubble(t, Options{}, func(h *harness) {
		h.next(instant)
		time.Sleep(10*time.Second + 1*time.Millisecond)
		a.set(func() {
			a.delay["getblocktemplate"] = 300 * time.Millisecond
			a.delay["getblockchaininfo"] = 2 * time.Second
		})
		h.Refresh("timer")
		synctest.Wait()
		a.mine()
		h.expect(301*time.Millisecond, "a:1", 10, false)
		h.expect(301*time.Millisecond, "a:1", 11, true)
	}, a)
}

func TestPollAnswerCrossesWithNews(t *testing.T) {
	a := newFakeNode(10)
	a.early = true
	inBubble(t, Options{}, func(h *harness) {
		h.next(instant)
		a.set(func() { a.delay["getbestblockhash"] = time.Second })
		time.Sleep(10*time.Second + 37*time.Millisecond) // no check is due
		before := a.count("getblocktemplate")
		for height := 11; height < 20; height++ {
			a.mine()
			h.expect(instant, "a:1", height, true)
			h.silent(730 * time.Millisecond)
		}
		if n := a.count("getblocktemplate") - before; n > 0 {
			t.Errorf("%d template requests because of old answers", n)
		}
	}, a)
}

// One call that hangs while others are answered is no dead node.
func TestOneHangingCall(t *testing.T) {
	a, b := newFakeNode(10), newFakeNode(10)
	inBubble(t, Options{}, func(h *harness) {
		h.next(instant)
		a.set(func() { a.hang["getbestblockhash"] = true })
		h.silent(2 * time.Minute)
		if s := h.Status()[0]; !s.Current || s.State != "ok" {
			t.Errorf("%+v", s)
		}
	}, a, b)
}

// A block that everybody has at once is asked for once.
func TestOneRequestForATip(t *testing.T) {
	a, b, c := newFakeNode(10), newFakeNode(10), newFakeNode(10)
	fakes := []*fakeNode{a, b, c}
	for _, f := range fakes {
		f.noLongPoll = true
	}
	inBubble(t, Options{}, func(h *harness) {
		h.expect(instant, "a:1", 10, true)
		time.Sleep(10 * time.Second)
		requests := func() (n int) {
			for _, f := range fakes {
				n += f.count("getblocktemplate")
			}
			return n
		}
		before := requests()
		for _, f := range fakes {
			f.set(func() { f.delay["getblocktemplate"] = 50 * time.Millisecond })
			f.mine()
		}
		if u := h.next(soon); !u.NewTip {
			t.Error("not a new tip")
		}
		h.silent(5 * time.Second)
		// The order in which they are polled is not given: one that is asked
		// before the current one may cost a second request.
		if n := requests() - before; n > 2 {
			t.Errorf("%d template requests for one block", n)
		}
	}, fakes...)
}

// Work on a lower tip is held back for 10 s while a node that cannot be used
// has a better one.
func TestHoldBack(t *testing.T) {
	a, b := newFakeNode(11), newFakeNode(10)
	inBubble(t, Options{}, func(h *harness) {
		h.expect(instant, "a:1", 11, true)
		a.dead(errRefused)
		h.silent(holdTime - time.Second)
		h.expect(2*time.Second, "b:1", 10, true)
		h.wantSaid(1, "bitcoind a:1 knows block 10 but gives no work for it; going on at block 9 of b:1")
		b.mine()
		h.expect(soon, "b:1", 11, true)
		h.silent(time.Minute)

		// The same again: it is held back again.
		a.dead(nil)
		a.mine()
		h.expect(lastPause+soon, "a:1", 12, true)
		h.silent(checkEvery)
		a.dead(errRefused)
		h.silent(holdTime - time.Second)
		h.expect(2*time.Second, "b:1", 11, true)
	}, a, b)
}

func TestHoldBackEndsWithTheTip(t *testing.T) {
	a, b := newFakeNode(11), newFakeNode(10)
	b.noLongPoll = true
	inBubble(t, Options{}, func(h *harness) {
		h.expect(instant, "a:1", 11, true)
		a.dead(errRefused)
		h.silent(5 * time.Second)
		b.mine()
		h.expect(soon, "b:1", 11, false) // the same tip: nothing was lost
		h.wantSaid(0, "gives no work")
	}, a, b)
}

// At start too: a syncing node that knows better gets its 10 s.
func TestHoldBackAtStart(t *testing.T) {
	a, b := newFakeNode(11), newFakeNode(10)
	a.answer["getblocktemplate"] = `500 {"code":-10,"message":"Bitcoin Core is in initial sync and waiting for blocks..."}`
	inBubble(t, Options{}, func(h *harness) {
		h.silent(holdTime - time.Second)
		h.expect(2*time.Second, "b:1", 10, true)
		if s := h.Status()[0]; s.State != "syncing" || !strings.Contains(s.Reason, "block 10 of 10") {
			t.Errorf("%+v", s)
		}
	}, a, b)
}

// A tip that its own node gave up holds nothing back.
func TestGivenUpTip(t *testing.T) {
	a, b := newFakeNode(12), newFakeNode(11)
	inBubble(t, Options{}, func(h *harness) {
		h.expect(instant, "a:1", 12, true)
		time.Sleep(time.Minute)
		a.drop(2)
		h.expect(soon, "b:1", 11, true)
		time.Sleep(20 * time.Second)
		select {
		case u := <-h.Templates(): // a fresher one
			if u.NewTip || u.From != "b:1" {
				t.Errorf("%+v", u)
			}
		default:
		}
		b.dead(errRefused)
		h.silent(holdTime - time.Second)
		h.expect(2*time.Second, "a:1", 10, true)
	}, a, b)
}

// A reorganisation to a block of the same height, as preciousblock makes it.
func TestSameHeight(t *testing.T) {
	a := newFakeNode(10)
	inBubble(t, Options{}, func(h *harness) {
		h.expect(instant, "a:1", 10, true)
		a.set(func() { a.blocks[9] = blockID(9, 7) })
		if u := h.next(soon); !u.NewTip || u.Template.PrevHash != blockID(9, 7) {
			t.Errorf("%+v", u)
		}
		h.silent(10 * time.Second)
	}, a)
}

// btcd tells no chainwork: heights decide.
func TestWithoutChainWork(t *testing.T) {
	a, b := newFakeNode(10), newFakeNode(12)
	a.work, b.work = 0, 0
	inBubble(t, Options{}, func(h *harness) {
		if u := h.next(instant); u.From == "a:1" {
			h.expect(soon, "b:1", 12, true)
		}
		b.mine()
		h.expect(soon, "b:1", 13, true)
		b.dead(errRefused)
		h.silent(holdTime - time.Second)
		h.expect(2*time.Second, "a:1", 10, true)
		h.silent(30 * time.Second)
	}, a, b)
}

// An rpcwhitelist made for the calls of other pools lacks getblockchaininfo.
func TestWithoutChainInfo(t *testing.T) {
	a := newFakeNode(10)
	a.blocks[0] = hashOf(t, "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206")
	a.answer["getblockchaininfo"] = "403 "
	a.answer["getnetworkinfo"] = "403 "
	inBubble(t, Options{}, func(h *harness) {
		h.expect(instant, "a:1", 10, true)
		if h.Chain() != "regtest" {
			t.Errorf("chain %q", h.Chain())
		}
		a.mine()
		h.expect(soon, "a:1", 11, true)
		a.drop(2)
		h.expect(soon, "a:1", 9, true)
	}, a)
}

// A node whose templates lag behind its own words is not asked in a tight loop.
func TestDisagreeingNode(t *testing.T) {
	a := newFakeNode(10)
	a.noLongPoll = true
	inBubble(t, Options{}, func(h *harness) {
		h.next(instant)
		a.set(func() {
			a.templates = a.blocks
			a.blocks = append(a.blocks[:10:10], blockID(10, 0))
		})
		before := a.count("getblocktemplate")
		h.silent(60 * time.Second)
		if n := a.count("getblocktemplate") - before; n < 30 || n > 40 {
			t.Errorf("%d requests in a minute", n)
		}
		a.set(func() { a.templates = nil })
		h.expect(lastPause+instant, "a:1", 11, true)
		before = a.count("getblocktemplate")
		h.silent(20 * time.Second)
		if n := a.count("getblocktemplate") - before; n > 1 {
			t.Errorf("%d requests once it agrees", n)
		}
	}, a)
}

// Nothing works: no flood, no end, and a retry as soon as somebody asks.
func TestFailingTemplates(t *testing.T) {
	a := newFakeNode(10)
	a.answer["getblocktemplate"] = `500 {"code":-28,"message":"Loading block index…"}`
	inBubble(t, Options{}, func(h *harness) {
		h.silent(599 * time.Second)
		if n := a.count("getblocktemplate"); n < 290 || n > 320 {
			t.Errorf("%d requests in 10 minutes", n)
		}
		// At once, then every minute.
		h.wantSaid(10, "bitcoind a:1 is starting: Loading block index…")
		h.wantSaid(10, "CRITICAL: No bitcoinds active!")
		if h.state(0) != "starting" || h.Current() != nil {
			t.Errorf("state %s", h.state(0))
		}
		a.say("getblocktemplate", "")
		h.Refresh("operator")
		h.expect(instant, "a:1", 10, true)
		h.wantSaid(1, "Server alive: a:1")
	}, a)
}

func TestStates(t *testing.T) {
	for _, test := range []struct {
		answer, state, said string
	}{
		{`500 {"code":-28,"message":"Verifying blocks…"}`, "starting", "is starting: Verifying blocks…"},
		{`500 {"code":-10,"message":"Bitcoin Core is in initial sync"}`, "syncing", "is syncing: Bitcoin Core is in initial sync (block 9 of 9)"},
		{`500 {"code":-9,"message":"Bitcoin Core is not connected!"}`, "no peers", "has no peers: Bitcoin Core is not connected!"},
		{"401 ", "refused", "refuses the user or password (HTTP 401)"},
		{"403 ", "refused", "set rpcallowip or rpcwhitelist"},
		{"503 Work queue depth exceeded", "failing", "is overloaded (HTTP 503: Work queue depth exceeded): raise its rpcworkqueue"},
		{"404 <html>", "failing", "HTTP 404"},
		{`500 {"code":-8,"message":"Support for 'x' rule requires explicit client support"}`, "failing", "demands a rule this pool does not know"},
		{"200 {}", "failing", "gives a template that cannot be used"},
	} {
		t.Run(test.state, func(t *testing.T) {
			a := newFakeNode(10)
			inBubble(t, Options{}, func(h *harness) {
				h.next(instant)
				time.Sleep(checkEvery)
				a.say("getblocktemplate", test.answer)
				h.Refresh("timer")
				h.silent(time.Second)
				if s := h.Status()[0]; s.State != test.state || !strings.Contains(s.Reason, test.said) {
					t.Errorf("%+v; want %s, %s", s, test.state, test.said)
				}
				h.wantSaid(1, test.said)
				a.say("getblocktemplate", "")
				h.next(6 * time.Second)
				if h.state(0) != "ok" {
					t.Errorf("%s after it works again", h.state(0))
				}
			}, a)
		})
	}
}

func TestLagging(t *testing.T) {
	a, b := newFakeNode(10), newFakeNode(10)
	inBubble(t, Options{}, func(h *harness) {
		h.next(instant)
		a.mine()
		time.Sleep(lagTime / 2)
		if s := h.state(1); s != "ok" {
			t.Errorf("b is %s after 5 s", s)
		}
		time.Sleep(lagTime)
		if s := h.state(1); s != "lagging" {
			t.Errorf("b is %s", s)
		}
		h.wantSaid(1, "bitcoind b:1 lags: its newest block is 9, others have 10")
		b.mine()
		time.Sleep(time.Second)
		if s := h.state(1); s != "ok" {
			t.Errorf("b is %s", s)
		}
	}, a, b)
}

// A node that comes back on another chain is not used, however long that is.
func TestChainChanges(t *testing.T) {
	a, b := newFakeNode(10), newFakeNode(10)
	a.work, b.work = 0, 0 // its templates tell the height before the chain is known
	inBubble(t, Options{}, func(h *harness) {
		h.expect(instant, "a:1", 10, true)
		a.dead(errRefused)
		h.expect(soon, "b:1", 10, false)
		a.set(func() {
			a.fail[""] = nil
			a.chain = "main"
			a.blocks = append(a.blocks, blockID(10, 3), blockID(11, 3))
		})
		h.silent(20 * time.Second)
		if h.state(0) != "wrong chain" || h.Chain() != "regtest" {
			t.Errorf("a is %s, chain %s", h.state(0), h.Chain())
		}
	}, a, b)
}

// The chain of a node earlier in the list may be none for the pool's address.
func TestChainMustFit(t *testing.T) {
	fits := func(chain string) error {
		if chain != "regtest" {
			return errors.New("no address of " + chain)
		}
		return nil
	}
	a, b := newFakeNode(20), newFakeNode(10)
	a.chain = "main"
	b.fail[""] = errRefused
	inBubble(t, Options{Fits: fits}, func(h *harness) {
		h.silent(10 * time.Second)
		if h.said("bitcoind a:1 is on chain main: no address of main") == 0 {
			t.Error(h.events())
		}
		b.dead(nil)
		h.expect(lastPause, "b:1", 10, true)
		if h.Chain() != "regtest" || h.state(0) != "wrong chain" {
			t.Errorf("chain %q, a is %s", h.Chain(), h.state(0))
		}
		b.dead(errRefused)
		b.set(func() { b.fail[""], b.chain = nil, "test" })
		h.silent(20 * time.Second)
	}, a, b)
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Options{Fits: fits}, a)
		if err := h.Run(t.Context()); err == nil || err.Error() != "no address of main" {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestChainNamesOfBtcd(t *testing.T) {
	a, b := newFakeNode(10), newFakeNode(10)
	a.chain, b.chain = "testnet3", "test"
	inBubble(t, Options{}, func(h *harness) {
		h.next(instant)
		synctest.Wait()
		if h.Chain() != "test" || h.state(1) != "ok" {
			t.Errorf("chain %s, b is %s", h.Chain(), h.state(1))
		}
	}, a, b)
}

// Idle submission connections would be closed by the node after 30 s.
func TestSubmissionConnectionsAreKeptWarm(t *testing.T) {
	a := newFakeNode(10)
	inBubble(t, Options{}, func(h *harness) {
		h.next(instant)
		time.Sleep(100 * time.Second)
		if n := a.count("getblockcount"); n < 9 || n > 12 {
			t.Errorf("%d small calls in 100 s", n)
		}
	}, a)
}

func TestNewGroupErrors(t *testing.T) {
	for want, nodes := range map[string][]Config{
		"no bitcoin node configured":                                          nil,
		`node url "host:99999": port "99999" is not a number from 1 to 65535`: {{URL: "host:99999"}},
		`ZMQ endpoint "127.0.0.1": want tcp://host:port or ipc:///path`:       {{URL: "host", ZMQ: []string{"127.0.0.1"}}},
		`ZMQ endpoint "tcp://127.0.0.1": want tcp://host:port`:                {{URL: "host", ZMQ: []string{"tcp://127.0.0.1"}}},
	} {
		if _, err := NewGroup(nodes, Options{}); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// Trouble is told when it begins and when it changes, then once a minute.
func TestSchedule(t *testing.T) {
	var s schedule
	start := time.Unix(1e9, 0)
	var told []int
	for second := range 260 {
		kind := "x"
		switch {
		case second >= 200 && second < 210:
			kind = ""
		case second >= 130:
			kind = "y"
		}
		if tell, _ := s.due(kind, start.Add(time.Duration(second)*time.Second)); tell {
			told = append(told, second)
		}
	}
	if got := fmt.Sprint(told); got != "[0 60 120 130 190 210]" {
		t.Error(got)
	}
}

// Templates of a chain nobody knows could be anything: a node that fails to
// name its chain is asked again.
func TestChainUnknownAtFirst(t *testing.T) {
	a := newFakeNode(10)
	a.answer["getblockchaininfo"] = `500 {"code":-1,"message":"no"}`
	a.answer["getblockhash"] = "503 Work queue depth exceeded"
	inBubble(t, Options{}, func(h *harness) {
		h.silent(4900 * time.Millisecond)
		h.wantSaid(1, "bitcoind a:1 does not tell its chain: is overloaded (HTTP 503")
		h.wantSaid(1, "CRITICAL: No bitcoinds active!")
		if n := a.count("getblockchaininfo"); h.state(0) != "failing" || n > 6 {
			t.Errorf("state %s after %d calls", h.state(0), n)
		}
		a.say("getblockchaininfo", "")
		h.expect(time.Second, "a:1", 10, true)
		if h.Chain() != "regtest" || h.state(0) != "ok" {
			t.Errorf("chain %q, state %s", h.Chain(), h.state(0))
		}
	}, a)
}

// One that will never tell is used.
func TestChainNeverTold(t *testing.T) {
	a := newFakeNode(10)
	a.answer["getblockchaininfo"] = "403 "
	a.answer["getblockhash"] = `404 {"code":-32601,"message":"Method not found"}`
	inBubble(t, Options{}, func(h *harness) {
		h.expect(instant, "a:1", 10, true)
		h.wantSaid(1, "bitcoind a:1 does not let this user call getblockchaininfo: add that to its rpcwhitelist")
		if s := h.Status()[0]; h.Chain() != "" || !s.Current {
			t.Errorf("chain %q, %+v", h.Chain(), s)
		}
	}, a)
}

// A node that does not let the pool submit blocks, or ask for them, is told at
// once, by the names of the calls, until it does; it is used meanwhile.
func TestForbiddenCalls(t *testing.T) {
	for _, test := range []struct {
		methods []string
		answer  string
		told    string
	}{
		{[]string{"submitblock"}, "403 ", "submitblock: add that to its rpcwhitelist, or a block that is found does not get there"},
		{[]string{"submitblock"}, `404 {"code":-32601,"message":"Method not found"}`, "submitblock: add that to its rpcwhitelist, or a block that is found does not get there"},
		{[]string{"getblockhash", "preciousblock"}, "403 ", "preciousblock, getblockhash: add that to its rpcwhitelist"},
		{[]string{"getblockchaininfo"}, "403 ", "getblockchaininfo: add that to its rpcwhitelist"},
	} {
		a := newFakeNode(10)
		for _, method := range test.methods {
			a.answer[method] = test.answer
		}
		inBubble(t, Options{}, func(h *harness) {
			h.next(instant)
			told := "bitcoind a:1 does not let this user call " + test.told
			h.wantSaid(1, told)
			if s := h.Status()[0]; s.State != "refused" || !s.Current || s.Reason == "" {
				t.Errorf("%+v", s)
			}
			time.Sleep(3 * time.Minute)
			if n := h.said(told); n < 3 || n > 8 {
				t.Errorf("said %d times in 3 minutes", n)
			}
			a.mine()
			h.next(instant)
			a.heal()
			time.Sleep(2 * checkEvery)
			if s := h.state(0); s != "ok" {
				t.Errorf("state %s, when it may", s)
			}
			probes := a.count("no block")
			time.Sleep(5 * time.Minute)
			if n := a.count("no block") - probes; n != 0 {
				t.Errorf("asked %d times when all is well", n)
			}
		}, a)
	}
}

// Test networks give work before they have the chain.
func TestInitialBlockDownload(t *testing.T) {
	for chain, told := range map[string]int{"testnet4": 1, "test": 1, "regtest": 0} {
		a := newFakeNode(1)
		a.chain, a.ibd = chain, `,"initialblockdownload":true`
		inBubble(t, Options{}, func(h *harness) {
			h.next(instant)
			h.wantSaid(told, "bitcoind a:1 is in initial block download (block 0 of 0): ")
			a.set(func() { a.ibd = `,"initialblockdownload":false` })
			time.Sleep(2 * checkEvery)
			if s := h.state(0); s != "ok" {
				t.Errorf("state %s at last", s)
			}
		}, a)
	}
}
