package notify

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/keypair"
)

// View is how the notifier looks at a pool. Its functions may be called from any
// goroutine; those that are nil there is nothing to see of.
type View struct {
	Blocks func() []control.Block
	// Places are the nodes that work comes from, or where Proxy is true other pools.
	Places func() []control.Node
	Proxy  bool
	Usable func() bool // whether one of them gives work
	// Work is when the newest work was made; false: there is none.
	Work func() (time.Time, bool)
	// WorkTime is how old work may become.
	WorkTime func() time.Duration
	Journal  func() control.Journal
	// JournalSize is the most that the journal may take, in bytes.
	JournalSize func() int64
	// Directories are those whose disks must have room.
	Directories func() []string
	// Certificates are pairs of files: a certificate and its key.
	Certificates func() [][2]string
	// Workers are those of a user, or with "" all: the newest if there are too many.
	Workers func(now time.Time, user string) []control.Worker
	// Accounts is how they are kept.
	Accounts func() Accounts
	// Elsewhere tells that workers may be connected to other pools, whose shares count here.
	Elsewhere func() bool
}

// Times of what lasts.
const (
	lookEvery   = 10 * time.Second
	settleTime  = 30 * time.Second // after the start, until states of nodes mean something
	holdTime    = 15 * time.Second // that something must last before it is told
	journalHold = time.Minute
	stuckTime   = 10 * time.Minute // that a reader of the journal must not have got on
	unsafeTime  = 10 * time.Second // that shares may wait for the disk
	soon        = 14 * 24 * time.Hour
	verySoon    = 3 * 24 * time.Hour
)

// condition is something that is wrong, or not.
type condition struct {
	event, subject string
	level          int // how bad it is: 0 it is not, 1 and more
	severity       string
	reason         string
	hold           time.Duration
}

func (c *condition) key() string { return c.event + " " + c.subject }

// seen is how a condition was found before. Owned by the Notifier's Run.
type seen struct {
	level int
	since time.Time
}

// judge tells of conditions that are worse than what was told, or well again.
func (n *Notifier) judge(now time.Time, list []condition) {
	present := map[string]bool{}
	for i := range list {
		c := &list[i]
		key := c.key()
		present[key] = true
		before, known := n.conditions[key]
		told := n.state.Conditions[key]
		if !known || before.level != c.level {
			since := now
			if told == 0 && before.level > 0 && c.level > 0 { // it lasts, however bad it is by turns
				since = before.since
			}
			before = seen{c.level, since}
			n.conditions[key] = before
		}
		if c.level == told || now.Sub(before.since) < c.hold {
			continue
		}
		if c.level > told || c.level == 0 {
			n.tellCondition(now, c)
		}
		if n.state.dirty = true; c.level == 0 {
			delete(n.state.Conditions, key)
		} else {
			n.state.Conditions[key] = c.level
		}
	}
	for key := range n.conditions { // of what there no longer is
		if !present[key] {
			delete(n.conditions, key)
		}
	}
	for key := range n.state.Conditions {
		if !present[key] {
			delete(n.state.Conditions, key)
			n.state.dirty = true
		}
	}
}

func (n *Notifier) tellCondition(now time.Time, c *condition) {
	notice := Notice{
		ID: fmt.Sprintf("%s-%s-%d-%d", c.event, fileOf(c.subject), c.level, now.Unix()), Event: c.event, Severity: c.severity,
		Subject: c.subject, Reason: c.reason, Time: now,
	}
	if c.level == 0 {
		notice.Severity, notice.Resolved = info, true
		if c.event == config.EventNodeDown {
			notice.Event = config.EventNodeUp
		}
	}
	n.tell(notice)
}

// look finds all conditions.
func (n *Notifier) look(now time.Time) (list []condition) {
	if now.Sub(n.began) < settleTime {
		return n.lasting()
	}
	list = n.lookAtBooks(list)
	list = n.lookAtPlaces(list)
	list = n.lookAtWork(now, list)
	list = n.lookAtJournal(now, list)
	list = n.lookAtDisks(list)
	return n.lookAtCertificates(now, list)
}

// lasting are the conditions that were told, as they were: those of some events, or all.
func (n *Notifier) lasting(events ...string) (list []condition) {
	for key, level := range n.state.Conditions {
		name, subject, _ := strings.Cut(key, " ")
		if len(events) > 0 && !slices.Contains(events, name) {
			continue
		}
		list = append(list, condition{event: name, subject: subject, level: level})
	}
	return list
}

func (n *Notifier) lookAtPlaces(list []condition) []condition {
	if n.view.Places == nil {
		return list
	}
	for _, p := range n.view.Places() {
		c := condition{event: config.EventNodeDown, subject: p.URL, severity: warning, hold: holdTime}
		if p.State != "ok" && p.State != "disabled" {
			c.level, c.reason = 1, p.State
			if p.Reason != "" {
				c.reason = p.Reason
			}
		}
		// Of two accounts at one pool, which are one here, the worse one counts.
		switch i := slices.IndexFunc(list, func(o condition) bool { return o.key() == c.key() }); {
		case i < 0:
			list = append(list, c)
		case list[i].level == 0:
			list[i] = c
		}
	}
	return list
}

func (n *Notifier) lookAtWork(now time.Time, list []condition) []condition {
	if n.view.Usable == nil {
		return list
	}
	c := condition{event: config.EventWorkStale, severity: critical, hold: holdTime}
	made, ok := n.view.Work()
	switch age := now.Sub(made); {
	case !n.view.Usable() && n.view.Proxy:
		c.level, c.reason = 1, "no other pool gives work"
	case !n.view.Usable():
		c.level, c.reason = 1, "no node can be used"
	case !ok:
		c.level, c.reason = 1, "there is none yet"
	case age > n.view.WorkTime():
		c.level, c.reason = 1, "the newest is "+figures.Duration(age)+" old"
	}
	return append(list, c)
}

// How bad it is with the journal: what is worse is told beside what was told before.
const (
	lagUnread = 1 + iota // who reads it does not get on
	lagFull
	lagUnsafe // shares are not on the disk
	lagLost
)

func (n *Notifier) lookAtJournal(now time.Time, list []condition) []condition {
	if n.view.Journal == nil {
		return list
	}
	j := n.view.Journal()
	if !j.Kept {
		return list
	}
	c := condition{event: config.EventJournalLag, severity: critical, hold: journalHold}
	lost := j.LostRecords > n.lost
	n.lost = j.LostRecords
	switch {
	case lost:
		c.level, c.reason, c.hold = lagLost, "records were lost, since the disk did not take them", 0
	case j.Error != "":
		c.level, c.reason = lagUnsafe, "it cannot be written: "+j.Error
	case j.UnsafeAgeMS > float64(unsafeTime.Milliseconds()):
		c.level, c.reason = lagUnsafe, fmt.Sprintf("%s wait for the disk", figures.Things(int64(min(j.UnsafeShares, math.MaxInt64)), "share"))
	case float64(j.Size) > 0.8*float64(n.view.JournalSize()):
		c.level, c.reason = lagFull, fmt.Sprintf("it has %s of the bytes that it may have, since it is not read", figures.Percent(float64(j.Size)/float64(n.view.JournalSize())))
	}
	for _, r := range j.Readers {
		before, known := n.readers[r.Name]
		if !known || r.Behind == 0 || before.epoch != r.Epoch || before.number != r.Number {
			n.readers[r.Name] = reader{r.Epoch, r.Number, now}
			continue
		}
		if c.level == 0 && now.Sub(before.since) >= stuckTime {
			c.level, c.severity, c.reason = lagUnread, warning, fmt.Sprintf("%s has not read on for %s, and is %s behind", r.Name, figures.Duration(now.Sub(before.since)), figures.Things(int64(min(r.Behind, math.MaxInt64)), "record"))
		}
	}
	return append(list, c)
}

// reader is where somebody was in the journal, and since when.
type reader struct {
	epoch, number uint64
	since         time.Time
}

// Room that a disk must have, in bytes. Large disks need not have a part of all.
const (
	little     = 1 << 30
	enough     = 10 << 30
	littlePart = 0.05
)

func (n *Notifier) lookAtDisks(list []condition) []condition {
	if n.view.Directories == nil {
		return list
	}
	known := map[uint64]bool{}
	for _, dir := range n.view.Directories() {
		var at unix.Stat_t
		var fs unix.Statfs_t
		if unix.Stat(dir, &at) != nil || unix.Statfs(dir, &fs) != nil || known[at.Dev] { // what uses it tells that it is gone
			continue
		}
		known[at.Dev] = true
		c := room(dir, fs.Bavail*uint64(fs.Bsize), fs.Blocks*uint64(fs.Bsize), n.state.Conditions[config.EventDiskFull+" "+dir] > 0)
		if c.level == 0 && fs.Files > 0 && float64(fs.Ffree) < 0.01*float64(fs.Files) {
			c.level, c.reason = 1, "there is room for no more files"
		}
		list = append(list, c)
	}
	return list
}

// room judges what is free of a disk. What was told is over only when there is clearly more.
func room(dir string, free, size uint64, told bool) condition {
	c := condition{event: config.EventDiskFull, subject: dir, severity: critical, hold: holdTime}
	c.reason = fmt.Sprintf("%sB of %sB are free", figures.Number(float64(free)), figures.Number(float64(size)))
	limit := min(max(littlePart*float64(size), little), enough)
	if told {
		limit *= 1.25
	}
	if float64(free) < limit {
		c.level = 1
	}
	return c
}

func (n *Notifier) lookAtCertificates(now time.Time, list []condition) []condition {
	if n.view.Certificates == nil {
		return list
	}
	const every = time.Hour
	if now.Sub(n.certificatesSeen) >= every {
		n.certificatesSeen, n.certificates = now, nil
		for _, files := range n.view.Certificates() {
			if p, err := keypair.Open(files[0], files[1], nil); err == nil { // else the pool says so
				n.certificates = append(n.certificates, certificateFile{files[0], p.Expires()})
			}
		}
	}
	for _, k := range n.certificates {
		list = append(list, expiry(k, now))
	}
	return list
}

// certificateFile is a file, and until when it is valid.
type certificateFile struct {
	file    string
	expires time.Time
}

func expiry(k certificateFile, now time.Time) condition {
	c := condition{event: config.EventCertificate, subject: k.file, severity: warning, reason: "it is valid until " + k.expires.UTC().Format(time.DateOnly)}
	switch left := k.expires.Sub(now); {
	case left <= 0:
		c.level, c.severity, c.reason = 3, critical, "it has expired on "+k.expires.UTC().Format(time.DateOnly)+": who connects may refuse it"
	case left <= verySoon:
		c.level, c.severity = 2, critical
	case left <= soon:
		c.level = 1
	}
	return c
}
