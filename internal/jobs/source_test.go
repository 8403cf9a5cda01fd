package jobs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// notified is a source that knows of a block what another pool's mining.notify tells:
// no transactions, and no chain.
type notified struct{ updates chan source.Update }

func (notified) Run(ctx context.Context) error     { <-ctx.Done(); return nil }
func (n notified) Templates() <-chan source.Update { return n.updates }
func (notified) Refresh(string)                    {}
func (notified) Prepare()                          {}
func (notified) Chain() string                     { return "" }
func (notified) Usable() bool                      { return true }
func (notified) Status() []source.Status           { return []source.Status{{URL: "pool:3333", State: "ok"}} }
func (n notified) give(t *testing.T, p *work.Parts, newTip bool) {
	t.Helper()
	tmpl, err := work.NewTemplate(p)
	if err != nil {
		t.Fatal(err)
	}
	n.updates <- source.Update{Template: tmpl, NewTip: newTip, From: "pool:3333", Received: time.Now()}
}

// A source that does not know the transactions of its blocks gives work all the
// same. The list that work of another source has left is not taken for theirs.
func TestSourceWithoutTransactions(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "pool", "pool.txns")
	if err := os.MkdirAll(filepath.Dir(list), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(list, []byte("of the work before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	branch := [][32]byte{{1}, {2}, {3}}
	synctest.Test(t, func(t *testing.T) {
		from := notified{make(chan source.Update, 1)}
		var tips []NewTip // owned by Run, then by the test
		g := NewGenerator(from, New(time.Now()), Options{
			Config: func() *config.Config {
				return &config.Config{
					LogDir: dir, UpdateInterval: 30 * time.Second,
					PoolTag: "ckpool", Nonce1Length: 4, Nonce2Length: 8,
				}
			},
			Payout: Payout{Rest: Payee{Name: "btcaddress", Address: "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"}},
			Events: func(e event.Event) {
				if e.Level <= event.Error {
					t.Error(e.Text)
				}
				if tip, ok := e.What.(NewTip); ok {
					tips = append(tips, tip)
				}
			},
			Notice:  func(_, text string) { t.Error(text) },
			OnChain: func(string, address.Network) error { return nil },
			Wake:    func(*session.Work) {},
			Quiet:   func() {},
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- g.Run(ctx) }()
		tidied := make(chan struct{})
		go func() {
			defer close(tidied)
			g.Tidy(ctx)
		}()
		parts := work.Parts{
			Height: 850000, Version: 0x20000000, PrevHash: [32]byte{9}, Bits: 0x1d00ffff, CurTime: 1795327613,
			CoinbaseValue: 312500000, Branch: branch,
		}
		for range 2 { // with a template before that has none either
			from.give(t, &parts, true)
			time.Sleep(2 * tidyAfter)
			synctest.Wait()
			w := g.jobs.Work(0)
			if w == nil || !slices.Equal(w.Job.Branch, branch) || w.Job.Template.Height != parts.Height {
				t.Fatalf("the work is %+v", w)
			}
			if _, err := os.Stat(list); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the list of transactions is there: %v", err)
			}
			parts.Height, parts.PrevHash = parts.Height+1, [32]byte{10}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		<-tidied
		if len(tips) != 2 || tips[1].From != "pool:3333" || tips[1].Height != 850000 {
			t.Errorf("told: %+v", tips)
		}
	})
}
