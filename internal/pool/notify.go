package pool

import (
	"path/filepath"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/blocks"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/notify"
	"github.com/ckpool/ckpool/internal/users"
)

// makeNotifier makes what tells people elsewhere of the pool. It looks at the pool only
// while that runs.
func (p *Pool) makeNotifier(c *config.Config) {
	p.notifier = notify.New(c.Notify, notify.Options{
		Dir:     filepath.Join(c.LogDir, "notify"),
		Pool:    func() string { return p.config.Load().PoolTag },
		Private: p.Private,
		Events:  p.events, View: p.notifierView(c),
	})
}

// notifierView is what the notifier sees, by the configuration that the pool was made with.
func (p *Pool) notifierView(c *config.Config) notify.View {
	view := notify.View{
		Blocks:   func() []control.Block { return p.operator.View().Blocks() },
		Places:   func() []control.Node { return p.operator.View().Nodes() },
		Proxy:    p.options.Proxy,
		Usable:   func() bool { return p.source.Usable() },
		Work:     p.newestWork,
		WorkTime: p.workTime,
		Certificates: func() (pairs [][2]string) {
			if h := c.HTTP; h.TLSCert != "" {
				pairs = append(pairs, [2]string{h.TLSCert, h.TLSKey})
			}
			for _, l := range p.config.Load().Servers {
				if l.TLSCert != "" {
					pairs = append(pairs, [2]string{l.TLSCert, l.TLSKey})
				}
			}
			return pairs
		},
		Directories: func() []string { return []string{c.LogDir} },
		Elsewhere:   func() bool { return p.collector != nil && p.collector.Any() },
		Workers: func(now time.Time, user string) []control.Worker {
			if user == "" {
				return p.operator.View().AllWorkers(now)
			}
			return p.operator.View().Workers(user, now)
		},
	}
	if p.options.Journal {
		view.Journal = p.watchedJournal
		view.JournalSize = func() int64 { return c.JournalSize }
		view.Directories = func() []string { return []string{c.LogDir, JournalDir(c)} }
	}
	return view
}

// watchedJournal is how the journal does. One that should be open and is not cannot be written.
func (p *Pool) watchedJournal() control.Journal {
	j := p.operator.View().Journal()
	if !j.Kept && p.journal.unkept() {
		j.Kept, j.Error = true, "it cannot be opened, and shares are only counted"
	}
	return j
}

func (p *Pool) newestWork() (time.Time, bool) {
	if w := p.jobs.Newest(); w != nil {
		return w.Job.Created, true
	}
	return time.Time{}, false
}

// Work is told to be stale after so many updates that did not come, and not before a
// node may be slow; other pools make new work when they like.
const (
	updatesMissed   = 4
	workTimeLeast   = 2 * time.Minute
	workTimeOfProxy = 10 * time.Minute
)

func (p *Pool) workTime() time.Duration {
	if p.options.Proxy {
		return workTimeOfProxy
	}
	return max(updatesMissed*p.config.Load().UpdateInterval, workTimeLeast)
}

// noticed tells the log, and what of it people elsewhere are to hear.
func (p *Pool) noticed(e event.Event) {
	p.events.Tell(e)
	switch what := e.What.(type) {
	case blocks.Found, blocks.Changed:
		p.notifier.BlocksChanged()
	case users.BestShare:
		p.notifier.BestShare(what.User, what.Worker, what.Difficulty)
	}
}
