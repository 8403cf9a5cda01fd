package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/figures"
)

// Pauses of a sender.
const (
	between    = time.Second // two messages: services take about one a second
	firstPause = 5 * time.Second
	maxPause   = 15 * time.Minute
	grace      = 5 * time.Second // of a message that is on its way when the sender is to end
)

// maxTries is how often a message is sent that its target says it will not take.
const maxTries = 3

// blocksPerHour bounds what is told of blocks, of which a real chain has none so often.
const blocksPerHour = 60

// several is how many messages that wait go as one.
const several = 5

// sender brings the messages of one queue to one target, one after the other. Its run owns
// all fields that have no other owner.
type sender struct {
	// immutable
	target  config.Target
	service service
	queue   *queue
	events  event.Func
	wake    chan struct{} // capacity 1: there are more messages
	stop    context.CancelFunc
	ended   sync.WaitGroup

	failures int       // in a row
	tried    time.Time // the last time
	silent   time.Time // until then the target wants to be left alone
	sent     [2][]time.Time
	limited  bool // messages wait for their hour
	told     bool // that it fails
}

// Of sent: what is about blocks counts apart.
const (
	ofOthers = iota
	ofBlocks
)

// start runs the sender until end.
func (s *sender) start() {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.ended.Go(func() { s.run(ctx) })
}

// end waits for what is on its way, for a while.
func (s *sender) end() {
	s.stop()
	s.ended.Wait()
}

func (s *sender) run(ctx context.Context) {
	for {
		e, wait := s.next(time.Now())
		if e == nil {
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-s.wake:
			case <-timer.C:
			}
			timer.Stop()
			continue
		}
		if ctx.Err() != nil {
			return
		}
		s.try(ctx, e)
	}
}

// idle is how long nothing happens without a message.
const idle = time.Hour

// next is the message to be sent now, or how long to wait for one.
func (s *sender) next(now time.Time) (*entry, time.Duration) {
	s.dropOld(now)
	blocks, others := s.queue.waiting()
	if len(blocks)+len(others) == 0 {
		return nil, idle
	}
	if wait := max(s.silent.Sub(now), s.tried.Add(between).Sub(now)); wait > 0 {
		return nil, wait
	}
	if pause := s.tried.Add(s.pause()).Sub(now); s.failures > 0 && pause > 0 {
		// A new block does not wait for a target that may be back by now.
		if i := slices.IndexFunc(blocks, func(e *entry) bool { return e.tries == 0 }); i >= 0 {
			return blocks[i], 0
		}
		return nil, pause
	}
	wait := idle
	for _, class := range []struct {
		list    []*entry
		of, max int
	}{{blocks, ofBlocks, blocksPerHour}, {others, ofOthers, s.target.PerHour}} {
		if len(class.list) == 0 {
			continue
		}
		if again := s.limit(class.of, class.max, now); again > 0 {
			wait = min(wait, again)
			s.limited = s.limited || class.of == ofOthers
			continue
		}
		n := len(class.list)
		if n > several || n > 1 && class.of == ofOthers && s.limited {
			return s.merged(class.list), 0
		}
		if class.of == ofOthers {
			s.limited = false
		}
		return class.list[0], 0
	}
	return nil, wait
}

// merged makes a digest of messages and returns it.
func (s *sender) merged(list []*entry) *entry {
	s.limited = false
	d, err := s.queue.merge(list)
	s.unsaved(err)
	return d
}

// limit is how long to wait until a message more may be sent within an hour; 0: not at all.
func (s *sender) limit(of, most int, now time.Time) time.Duration {
	sent := s.sent[of]
	for len(sent) > 0 && now.Sub(sent[0]) >= time.Hour {
		sent = sent[1:]
	}
	s.sent[of] = sent
	if most == 0 || len(sent) < most {
		return 0
	}
	return sent[0].Add(time.Hour).Sub(now)
}

// pause is how long to wait after so many failures: the double each time.
func (s *sender) pause() time.Duration {
	const doublings = 8 // are more than maxPause
	return min(firstPause<<min(max(s.failures-1, 0), doublings), maxPause)
}

func (s *sender) dropOld(now time.Time) {
	blocks, others := s.queue.waiting()
	n := 0
	for _, e := range slices.Concat(blocks, others) {
		kept := keptFor
		if e.ofBlock() {
			kept = blockKeptFor
		}
		if now.Sub(e.Time) > kept {
			s.unsaved(s.queue.remove(e.ID))
			n++
		}
	}
	if n > 0 {
		s.say(event.Error, "%s for %s dropped, which it did not take in time", figures.Things(int64(n), "notification"), s.target.Name)
	}
}

// try sends a message and judges what came of it.
func (s *sender) try(ctx context.Context, e *entry) {
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-sending.Done():
		}
	})()
	err := send(sending, &s.target, s.service, &e.Notice)
	now := time.Now()
	s.tried = now
	if p := (*partly)(nil); errors.As(err, &p) {
		s.say(event.Warning, "Notification for %s not sent %s", s.target.Name, p.text)
		err = nil
	}
	if err == nil {
		s.done(e, now)
		return
	}
	if ctx.Err() != nil { // it may have been cut off: the next run tells
		return
	}
	e.tries++
	s.failures++
	r := (*refusal)(nil)
	if errors.As(err, &r) {
		if r.after > 0 {
			s.silent = now.Add(r.after)
		}
		if r.final && e.tries >= maxTries {
			s.unsaved(s.queue.remove(e.ID))
			s.failures = 0
			s.say(event.Error, "Notification for %s dropped after %d tries: %v", s.target.Name, e.tries, err)
			return
		}
	}
	if !s.told {
		s.told = true
		s.say(event.Warning, "Notifications for %s wait: %v; trying again", s.target.Name, err)
	}
}

func (s *sender) done(e *entry, now time.Time) {
	if s.told {
		s.told = false
		s.say(event.Notice, "Notifications for %s are taken again", s.target.Name)
	}
	s.failures, s.silent = 0, time.Time{}
	of := ofOthers
	if e.ofBlock() {
		of = ofBlocks
	}
	s.sent[of] = append(s.sent[of], now)
	s.unsaved(s.queue.remove(e.ID))
}

// unsaved tells of a file that could not be written or removed.
func (s *sender) unsaved(err error) {
	if err != nil {
		s.say(event.Error, "Notifications for %s: %v", s.target.Name, err)
	}
}

func (s *sender) say(level event.Level, format string, args ...any) {
	s.events.Say(level, fmt.Sprintf(format, args...))
}
