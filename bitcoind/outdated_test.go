package bitcoind

import (
	"testing"
	"time"
)

// A template that was asked for before a block came, and is there after that of
// the block, is not gone back to.
func TestTemplateFromBeforeTheNews(t *testing.T) {
	for name, others := range map[string]int{"one node": 0, "two nodes": 1} {
		t.Run(name, func(t *testing.T) {
			fakes := []*fakeNode{newFakeNode(10)}
			for range others {
				fakes = append(fakes, newFakeNode(10))
			}
			a := fakes[0]
			a.early = true
			inBubble(t, Options{}, func(h *harness) {
				h.expect(instant, "a:1", 10, true)
				time.Sleep(10*time.Second + 37*time.Millisecond)
				a.set(func() { a.delay["getblocktemplate"] = 300 * time.Millisecond })
				h.Refresh("timer")
				time.Sleep(100 * time.Millisecond)
				a.set(func() { a.delay["getblocktemplate"] = 0 }) // of later requests
				a.mine()
				h.expect(instant, "a:1", 11, true)
				time.Sleep(250 * time.Millisecond)
				select { // what was wished for may come once more
				case u := <-h.Templates():
					if u.Template.Height != 11 || u.NewTip {
						t.Errorf("went back to height %d, new tip %v", u.Template.Height, u.NewTip)
					}
				default:
				}
				h.silent(5 * time.Second)
			}, fakes...)
		})
	}
}

// A template that was asked for before its node gave the block up, and is there
// when another node's work has taken the place, is not gone back to, however high
// it was.
func TestTemplateOfAGivenUpBlock(t *testing.T) {
	a, b := newFakeNode(12), newFakeNode(11)
	a.early = true
	inBubble(t, Options{}, func(h *harness) {
		h.expect(instant, "a:1", 12, true)
		time.Sleep(time.Minute + 37*time.Millisecond)
		a.set(func() { a.delay["getblocktemplate"] = 5 * time.Second })
		h.Refresh("timer")
		time.Sleep(100 * time.Millisecond)
		a.set(func() { a.delay["getblocktemplate"] = 0 }) // of later requests
		a.drop(2)
		h.expect(soon, "b:1", 11, true)
		for range 10 {
			time.Sleep(time.Second)
			select {
			case u := <-h.Templates(): // a fresher one
				if u.NewTip || u.From != "b:1" {
					t.Errorf("went back to height %d of %s, new tip %v", u.Template.Height, u.From, u.NewTip)
				}
			default:
			}
		}
	}, a, b)
}
