package notify

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"text/template"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/figures"
)

// Options are what a Notifier needs to know.
type Options struct {
	// Dir is for its files: one of what was told, and a directory of each target. It is
	// made when there is a target.
	Dir     string
	Pool    func() string          // the pool's name
	Private func(user string) bool // that nobody but the user himself hears of
	Events  event.Func             // of its own troubles
	View    View
}

// Notifier tells targets what happens. Make it with New and run it with Run.
type Notifier struct {
	// immutable
	options  Options
	view     View
	set      chan struct{} // capacity 1: there are other targets
	news     chan struct{} // capacity 1: something became of a block or a payment
	services func(*config.Target) service

	mu      sync.Mutex
	targets []config.Target // guarded by mu
	best    map[string]best // guarded by mu; of users, since Run has last asked
	bestOf  map[string]bool // guarded by mu; the users whose best shares somebody wants, "" all

	// owned by Run
	began            time.Time
	state            *state
	senders          []*sender
	templates        map[string]*template.Template // by name of the target
	conditions       map[string]seen
	readers          map[string]reader
	lost             uint64
	certificates     []certificateFile
	certificatesSeen time.Time
	workers          map[string]*watched
	down, up         map[string]downWorker // to be told
	gathered         int                   // looks since the first of them
	lastLook         time.Time             // at workers
	quietUntil       time.Time
	serving          []string // other pools
	toldTrouble      time.Time
}

// maxBest is how many users' best shares are remembered between two looks, and later.
const maxBest = 10_000

// bestEvery is how often a user's best share is told, and bestAtOnce of how many users it is
// at a time, beside those who have a target: whoever makes users has as many as he likes, and
// what else there is to tell is not to wait for that.
const (
	bestEvery  = time.Hour
	bestAtOnce = 100
)

// workersEvery is how often silence is looked for.
const workersEvery = time.Minute

// New makes a Notifier for targets, whose templates were checked.
func New(targets []config.Target, o Options) *Notifier {
	n := &Notifier{
		options: o, view: o.View, set: make(chan struct{}, 1), news: make(chan struct{}, 1),
		services:   func(t *config.Target) service { return serviceOf(t, (*x509.CertPool)(nil)) },
		templates:  map[string]*template.Template{},
		conditions: map[string]seen{}, readers: map[string]reader{}, workers: map[string]*watched{},
		down: map[string]downWorker{}, up: map[string]downWorker{},
	}
	n.Set(targets)
	return n
}

// Set changes the targets.
func (n *Notifier) Set(targets []config.Target) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.targets, n.bestOf = targets, map[string]bool{}
	for _, t := range targets {
		if slices.Contains(t.Events, config.EventBestShare) {
			n.bestOf[t.User] = true
		}
	}
	signal(n.set)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// BlocksChanged tells that something became of a block, or of a payment. It does not block.
func (n *Notifier) BlocksChanged() { signal(n.news) }

// BestShare tells that a share is better than all of its user's before. It does not block.
func (n *Notifier) BestShare(user, worker string, difficulty float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.bestOf[""] && !n.bestOf[user] {
		return
	}
	if n.best == nil {
		n.best = map[string]best{}
	}
	if b, known := n.best[user]; difficulty > b.Difficulty && (known || len(n.best) < maxBest) {
		n.best[user] = best{Worker: worker, Difficulty: difficulty}
	}
}

// Run tells until ctx ends, then what it knows of by then. Another process that has the
// files is waited for.
func (n *Notifier) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.set:
		}
		if n.current() != nil {
			break
		}
	}
	lock := n.lock(ctx)
	if lock == nil {
		return
	}
	defer lock.Close()
	n.began = time.Now()
	n.state = loadState(filepath.Join(n.options.Dir, "told.json"), n.options.Events)
	n.apply()
	defer func() {
		for _, s := range n.senders {
			s.stop()
		}
		for _, s := range n.senders {
			s.end()
		}
	}()
	n.lookAtBlocks(n.began, !n.state.fresh) // what was found before anybody was to be told is no news
	n.lookAtAccounts(n.began)
	n.save()
	n.loop(ctx)
	n.lookAtBlocks(time.Now(), true)
	n.takeBest()
	n.save()
}

func (n *Notifier) loop(ctx context.Context) {
	states := time.NewTicker(lookEvery)
	defer states.Stop()
	minutes := time.NewTicker(workersEvery)
	defer minutes.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.set:
			n.apply()
		case <-n.news:
			now := time.Now()
			n.lookAtBlocks(now, true)
			n.lookAtAccounts(now)
		case now := <-states.C:
			n.lookAtBlocks(now, true)
			n.lookAtAccounts(now)
			n.judge(now, n.look(now))
		case now := <-minutes.C:
			n.takeBest()
			n.tellBest(now)
			n.lookAtWorkers(now, n.asking(config.EventWorkerDown, config.EventWorkerUp))
		}
		n.save()
	}
}

// lockEvery is between two tries to have the files.
const lockEvery = 100 * time.Millisecond

// lock makes the files this process's, nil if ctx ends before. A process that has them is
// about to end, unless it is another pool's.
func (n *Notifier) lock(ctx context.Context) *os.File {
	for begun := time.Now(); ; {
		f, err := n.tryLock()
		if err == nil {
			return f
		}
		if busy := errors.Is(err, unix.EWOULDBLOCK); !busy {
			n.trouble(err)
		} else if time.Since(begun) > time.Minute {
			n.trouble(fmt.Errorf("another process has %s, and nothing is told until it has ended", n.options.Dir))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lockEvery):
		}
	}
}

func (n *Notifier) tryLock() (*os.File, error) {
	if err := os.MkdirAll(n.options.Dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(n.options.Dir, "notify.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// trouble tells of files that cannot be written or had, once a minute.
func (n *Notifier) trouble(err error) {
	if now := time.Now(); now.Sub(n.toldTrouble) >= time.Minute {
		n.toldTrouble = now
		n.options.Events.Say(event.Error, "Notifications: "+err.Error())
	}
}

// save writes what was told, and only then lets the messages of it go: where the process
// ends before, the next one finds both, and none that was sent already.
func (n *Notifier) save() {
	if err := n.state.save(); err != nil {
		n.trouble(err)
	}
	for _, s := range n.senders {
		if s.queue.release() {
			signal(s.wake)
		}
	}
}

func (n *Notifier) current() []config.Target {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.targets
}

// apply makes the senders those of the targets. Those whose targets are as before go on.
func (n *Notifier) apply() {
	targets := n.current()
	var kept []*sender
	for _, s := range n.senders {
		if slices.ContainsFunc(targets, func(t config.Target) bool { return sameTarget(&t, &s.target) }) {
			kept = append(kept, s)
		} else {
			s.end()
		}
	}
	n.senders = kept
	n.dropOthers(targets)
	for _, t := range targets {
		if slices.ContainsFunc(kept, func(s *sender) bool { return s.target.Name == t.Name }) {
			continue
		}
		q, err := openQueue(filepath.Join(n.options.Dir, t.Name))
		if err != nil {
			n.options.Events.Say(event.Error, "Notifications for "+t.Name+": "+err.Error())
		}
		dropped, err := q.keep(t.User)
		if err != nil {
			n.options.Events.Say(event.Error, "Notifications for "+t.Name+": "+err.Error())
		}
		if dropped > 0 {
			n.options.Events.Say(event.Warning, fmt.Sprintf("%s dropped: the target %s was not of the same user", figures.Things(int64(dropped), "notification"), t.Name))
		}
		if n.templates[t.Name], err = parseTemplate(t.Template); err != nil { // was checked
			n.options.Events.Say(event.Error, "Template of "+t.Name+" is not used: "+err.Error())
		}
		s := &sender{target: t, service: n.services(&t), queue: q, events: n.options.Events, wake: make(chan struct{}, 1)}
		n.senders = append(n.senders, s)
		s.start()
	}
}

// sameTarget tells that two are the same, wherever they stand in the file.
func sameTarget(a, b *config.Target) bool {
	x := *a
	x.Key = b.Key
	return reflect.DeepEqual(x, *b)
}

// dropOthers deletes the queues of targets that there are no more.
func (n *Notifier) dropOthers(targets []config.Target) {
	files, err := os.ReadDir(n.options.Dir)
	if err != nil {
		n.trouble(err)
		return
	}
	for _, f := range files {
		if !f.IsDir() || slices.ContainsFunc(targets, func(t config.Target) bool { return t.Name == f.Name() }) {
			continue
		}
		dir := filepath.Join(n.options.Dir, f.Name())
		if q, err := openQueue(dir); err == nil && len(q.entries) > 0 {
			n.options.Events.Say(event.Warning, fmt.Sprintf("%s dropped: the target %s is no longer in the configuration", figures.Things(int64(len(q.entries)), "notification"), f.Name()))
		}
		if err := os.RemoveAll(dir); err != nil {
			n.trouble(err)
		}
	}
}

// asking are the users that targets ask for any of these events of, "" all.
func (n *Notifier) asking(names ...string) (users []string) {
	for _, s := range n.senders {
		if slices.ContainsFunc(names, func(name string) bool { return slices.Contains(s.target.Events, name) }) && !slices.Contains(users, s.target.User) {
			users = append(users, s.target.User)
		}
	}
	return users
}

// tell gives a notice to all targets that it is for.
func (n *Notifier) tell(notice Notice) {
	for _, s := range n.senders {
		t := &s.target
		if !slices.Contains(t.Events, notice.Event) || t.User != "" && t.User != notice.User {
			continue
		}
		to := notice
		if t.User == "" && notice.User != "" && n.options.Private(notice.User) {
			to.Private, to.User, to.Worker = true, "", ""
			to.ID = strings.ReplaceAll(to.ID, fileOf(notice.User), "private") // a name that is guessed would be known by it
		}
		n.send(s, to)
	}
}

// send puts a notice into a queue, with its texts.
func (n *Notifier) send(s *sender, notice Notice) {
	notice.Pool, notice.Time = clean(n.options.Pool(), maxName), notice.Time.UTC()
	notice.compose()
	if t := n.templates[s.target.Name]; t != nil {
		if text, err := fill(t, &notice); err == nil {
			notice.Text = whole(text, maxText)
		} else {
			n.options.Events.Say(event.Error, "Template of "+s.target.Name+": "+err.Error())
		}
	}
	dropped, err := s.queue.add(&notice)
	if err != nil {
		n.trouble(err)
	}
	if dropped > 0 {
		n.options.Events.Say(event.Error, fmt.Sprintf("Notifications for %s: too many wait, the oldest is dropped", s.target.Name))
	}
}

// takeBest takes over the best shares that were told since the last time.
func (n *Notifier) takeBest() {
	n.mu.Lock()
	found := n.best
	n.best = nil
	n.mu.Unlock()
	for user, b := range found {
		known := n.state.Best[user]
		if known == nil {
			if len(n.state.Best) >= maxBest {
				continue
			}
			known = &best{}
			n.state.Best[user] = known
		}
		if b.Difficulty > known.Difficulty {
			known.Worker, known.Difficulty, known.Pending = b.Worker, b.Difficulty, true
			n.state.dirty = true
		}
	}
}

// tellBest tells of best shares, of each user once in an hour. Those of too many users at a
// time wait for the next.
func (n *Notifier) tellBest(now time.Time) {
	asking, others := n.asking(config.EventBestShare), 0
	for user, b := range n.state.Best {
		switch {
		case now.Sub(b.Told) < bestEvery:
			continue
		case b.Pending:
			if !slices.Contains(asking, user) {
				if others++; others > bestAtOnce {
					continue
				}
			}
			n.tell(Notice{
				ID: fmt.Sprintf("%s-%s-%g", config.EventBestShare, fileOf(user), b.Difficulty), Event: config.EventBestShare, Time: now, Severity: info,
				User: user, Worker: b.Worker, Difficulty: b.Difficulty,
			})
			b.Pending, b.Told = false, now.UTC()
		default: // the next one that is told of it is better
			delete(n.state.Best, user)
		}
		n.state.dirty = true
	}
}
