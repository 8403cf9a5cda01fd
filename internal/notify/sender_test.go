package notify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
)

// fake is a service that answers as it is told.
type fake struct {
	mu     sync.Mutex
	answer func(n *Notice) error // nil: all is well
	took   time.Duration         // that it takes
	tried  []string              // when, since the bubble began, and what
	sent   []*Notice
	began  time.Time
}

func newFake() *fake { return &fake{began: time.Now()} }

func (f *fake) send(ctx context.Context, n *Notice) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tried = append(f.tried, fmt.Sprintf("%v %s", time.Since(f.began), n.ID))
	if f.took > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(f.took):
		}
	}
	var err error
	if f.answer != nil {
		err = f.answer(n)
	}
	if err == nil {
		f.sent = append(f.sent, n.outside())
	}
	return err
}

// takeTried is what was tried since the last time.
func (f *fake) takeTried() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.tried
	f.tried = nil
	return list
}

func (f *fake) takeSent() []*Notice {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.sent
	f.sent = nil
	return list
}

func (f *fake) set(answer func(n *Notice) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func ids(list []*Notice) (ids []string) {
	for _, n := range list {
		ids = append(ids, n.ID)
	}
	return ids
}

// log collects what was said.
type sayings struct {
	mu    sync.Mutex
	lines []string
}

func (s *sayings) tell(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, e.Text)
}

func (s *sayings) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.lines
	s.lines = nil
	return list
}

func testSender(t *testing.T, f *fake, perHour int) (*sender, *sayings) {
	t.Helper()
	q, err := openQueue(filepath.Join(t.TempDir(), "ops"))
	if err != nil {
		t.Fatal(err)
	}
	said := &sayings{}
	return &sender{target: config.Target{Name: "ops", Service: "webhook", PerHour: perHour}, service: f, queue: q, events: said.tell, wake: make(chan struct{}, 1)}, said
}

// give puts a notice into the sender's queue.
func (s *sender) give(t *testing.T, id string, block bool) {
	t.Helper()
	n := Notice{ID: id, Event: config.EventNodeDown, Severity: warning, Time: time.Now().UTC(), Title: "title of " + id}
	if block {
		n.Event, n.Severity, n.Block = config.EventBlockFound, info, &Block{}
	}
	if _, err := s.queue.add(&n); err != nil {
		t.Error(err)
	}
	s.queue.release()
	signal(s.wake)
}

func files(t *testing.T, dir string) int {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// A target that fails is asked again after pauses that grow to a quarter of an hour, it
// hears of a new block at once, and of each message once.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s, said := testSender(t, f, 0)
		f.set(func(*Notice) error { return errors.New("it is down") })
		s.start()
		s.give(t, "a", false)
		time.Sleep(time.Hour)
		want := []string{"0s a", "5s a", "15s a", "35s a", "1m15s a", "2m35s a", "5m15s a", "10m35s a", "21m15s a", "36m15s a", "51m15s a"}
		if diff := cmp.Diff(want, f.takeTried()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		s.give(t, "block", true)
		synctest.Wait()
		if diff := cmp.Diff([]string{"1h0m0s block"}, f.takeTried()); diff != "" {
			t.Errorf("a block: -want +got:\n%s", diff)
		}
		f.set(nil)
		time.Sleep(time.Hour)
		if diff := cmp.Diff([]string{"block", "a"}, ids(f.takeSent())); diff != "" {
			t.Errorf("sent, -want +got:\n%s", diff)
		}
		if diff := cmp.Diff([]string{"Notifications for ops wait: it is down; trying again", "Notifications for ops are taken again"}, said.take()); diff != "" {
			t.Errorf("said, -want +got:\n%s", diff)
		}
		if n := files(t, s.queue.dir); n != 0 {
			t.Errorf("%d files are left", n)
		}
		s.end()
	})
}

// A target that says when to come back is not asked before, not for a block either.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s, _ := testSender(t, f, 0)
		f.set(func(*Notice) error { return &refusal{text: "slow down", after: 20 * time.Minute} })
		s.start()
		s.give(t, "a", false)
		synctest.Wait()
		f.set(nil)
		s.give(t, "block", true)
		s.give(t, "b", false)
		time.Sleep(time.Hour)
		if diff := cmp.Diff([]string{"0s a", "20m0s block", "20m1s a", "20m2s b"}, f.takeTried()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		s.end()
	})
}

// A message that a target will never take is dropped after three tries, and the next one
// goes.
func TestRefusedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s, said := testSender(t, f, 0)
		f.set(func(n *Notice) error {
			if n.ID == "bad" {
				return &refusal{text: "HTTP status 400", final: true}
			}
			return nil
		})
		s.start()
		s.give(t, "bad", false)
		s.give(t, "good", false)
		time.Sleep(time.Hour)
		if diff := cmp.Diff([]string{"0s bad", "5s bad", "15s bad", "16s good"}, f.takeTried()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if lines := said.take(); !slices.Contains(lines, "Notification for ops dropped after 3 tries: HTTP status 400") {
			t.Errorf("%q", lines)
		}
		s.end()
	})
}

// What is more than an hour may have waits and comes as one message; blocks do not.
func TestPerHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s, _ := testSender(t, f, 3)
		s.start()
		for i := range 9 {
			s.give(t, fmt.Sprintf("n%d", i), false)
			time.Sleep(time.Minute)
		}
		s.give(t, "block", true)
		time.Sleep(time.Minute)
		if diff := cmp.Diff([]string{"n0", "n1", "n2", "block"}, ids(f.takeSent())); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		time.Sleep(51 * time.Minute)
		list := f.takeSent()
		if len(list) != 1 || list[0].Event != "digest" || list[0].Count != 6 || list[0].Title != "6 notices, times in UTC" || list[0].Severity != warning {
			t.Fatalf("%+v", list)
		}
		if want := "00:03 title of n3\n00:04 title of n4\n00:05 title of n5\n00:06 title of n6\n00:07 title of n7\n00:08 title of n8"; list[0].Text != want {
			t.Errorf("%q", list[0].Text)
		}
		if n := files(t, s.queue.dir); n != 0 {
			t.Errorf("%d files are left", n)
		}
		s.end()
	})
}

// What has gathered while a target was away comes as one message, of blocks as another one
// before it; a flood of blocks is bounded too.
func TestGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s, _ := testSender(t, f, 20)
		for i := range 40 {
			s.give(t, fmt.Sprintf("n%d", i), false)
		}
		for i := range 7 {
			s.give(t, fmt.Sprintf("block%d", i), true)
		}
		s.start()
		time.Sleep(time.Minute)
		list := f.takeSent()
		if len(list) != 2 || list[0].Count != 7 || list[0].Items[0].Event != "block_found" || list[1].Count != 40 || !strings.HasSuffix(list[1].Text, "\nand 20 more") || len(list[1].Items) != 40 {
			t.Fatalf("%+v", list)
		}
		for i := range 300 { // a chain where each share is a block
			s.give(t, fmt.Sprintf("more%d", i), true)
			time.Sleep(time.Second)
		}
		time.Sleep(24 * time.Hour)
		if n := len(f.takeSent()); n > blocksPerHour+10 {
			t.Errorf("%d messages", n)
		}
		s.end()
	})
}

// Of many messages that come as one the worst are named, whoever has caused how many others.
func TestWorstFirst(t *testing.T) {
	var list []*Notice
	for i := range 150 {
		list = append(list, &Notice{Event: config.EventBestShare, Severity: info, Title: fmt.Sprintf("best share %d", i)})
	}
	list = append(list, &Notice{Event: config.EventWorkerDown, Severity: warning, Title: "a worker"}, &Notice{Event: config.EventDiskFull, Severity: critical, Title: "the disk"})
	d := digestOf(list, "d")
	d = digestOf([]*Notice{d, {Event: config.EventNodeDown, Severity: warning, Title: "a node"}}, "e")
	if lines := strings.Split(d.Text, "\n"); len(lines) != 21 || !strings.HasSuffix(lines[0], " the disk") || !strings.HasSuffix(lines[1], " a worker") || !strings.HasSuffix(lines[2], " a node") ||
		!strings.HasSuffix(lines[3], " best share 0") || lines[20] != "and 133 more" || d.Count != 153 || d.Severity != critical || len(d.Items) != 100 {
		t.Errorf("%d of %d, %s: %s", len(d.Items), d.Count, d.Severity, d.Text)
	}
}

// What nobody has taken for two days is dropped, of a block after a week.
func TestExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s, said := testSender(t, f, 20)
		f.set(func(*Notice) error { return errors.New("it is down") })
		s.start()
		s.give(t, "a", false)
		s.give(t, "block", true)
		time.Sleep(49 * time.Hour)
		if n := files(t, s.queue.dir); n != 1 {
			t.Errorf("%d files after two days", n)
		}
		time.Sleep(6 * 24 * time.Hour)
		if n := files(t, s.queue.dir); n != 0 {
			t.Errorf("%d files after eight days", n)
		}
		if lines := said.take(); !slices.Contains(lines, "1 notification for ops dropped, which it did not take in time") {
			t.Errorf("%q", lines)
		}
		s.end()
	})
}

// At the end a message on its way has five seconds; one that is cut off is kept.
func TestEndOfSender(t *testing.T) {
	for _, tt := range []struct{ took, ended time.Duration }{{2 * time.Second, 2 * time.Second}, {time.Minute, grace}} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			f.took = tt.took
			s, said := testSender(t, f, 20)
			s.start()
			s.give(t, "a", false)
			synctest.Wait()
			begun := time.Now()
			s.end()
			left := files(t, s.queue.dir)
			if time.Since(begun) != tt.ended || (left == 0) != (tt.took < grace) || said.take() != nil {
				t.Errorf("ended after %v with %d files", time.Since(begun), left)
			}
		})
	}
}

// A queue is what it was after the process has ended at any moment.
func TestQueueFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ops")
	q, err := openQueue(dir)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	add := func(q *queue, id string, n int) {
		t.Helper()
		if _, err := q.add(&Notice{ID: id, Event: "node_down", Time: at.Add(time.Duration(n) * time.Second), Title: "T " + mark("<x>"), Text: "X", Reason: "r"}); err != nil {
			t.Error(err)
		}
	}
	for i := range 4 {
		add(q, fmt.Sprintf("n%d", 3-i), 3-i)
	}
	add(q, "n0", 0) // again
	add(q, "sent", 0)
	if err := q.remove("sent"); err != nil {
		t.Error(err)
	}
	add(q, "sent", 0) // again too
	if n := files(t, dir); n != 4 {
		t.Fatalf("%d files", n)
	}
	again, err := openQueue(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, others := again.waiting()
	if diff := cmp.Diff([]string{"n0", "n1", "n2", "n3"}, entryIDs(others)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if e := others[0]; e.Title != "T "+mark("<x>") || e.Text != "X" || e.Reason != "r" || !e.Time.Equal(at) {
		t.Errorf("%+v", e)
	}
	// The process ends when the digest is written and what is in it is not yet removed.
	kept := map[string][]byte{}
	for _, e := range others {
		kept[q.path(e.ID)], _ = os.ReadFile(q.path(e.ID))
	}
	d, err := again.merge(others)
	if err != nil || d.Count != 4 {
		t.Fatalf("%+v, %v", d, err)
	}
	for path, data := range kept {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, ".tmp-1-1"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	third, err := openQueue(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, others = third.waiting()
	if diff := cmp.Diff([]string{d.ID}, entryIDs(others)); diff != "" || files(t, dir) != 1 {
		t.Errorf("%d files, -want +got:\n%s", files(t, dir), diff)
	}
	add(third, "n2", 2) // which is in the digest
	if err := third.remove(d.ID); err != nil || files(t, dir) != 0 {
		t.Errorf("%d files, %v", files(t, dir), err)
	}
	// What is damaged is put aside and keeps nobody.
	for name, text := range map[string]string{"a.json": "{", fileOf("x") + ".json": `{"id":"y","event":"e"}`, "b.json": strings.Repeat(" ", maxFileSize+1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fourth, err := openQueue(dir)
	if err == nil || len(fourth.entries) != 0 || strings.Count(err.Error(), ".damaged") != 3 {
		t.Errorf("%d entries, %v", len(fourth.entries), err)
	}
}

func entryIDs(list []*entry) (ids []string) {
	for _, e := range list {
		ids = append(ids, e.ID)
	}
	return ids
}

// A queue is bounded: the oldest that is about no block goes first.
func TestQueueBounded(t *testing.T) {
	q, err := openQueue(filepath.Join(t.TempDir(), "ops"))
	if err != nil {
		t.Fatal(err)
	}
	dropped := 0
	for i := range maxQueued + 10 {
		n := &Notice{ID: fmt.Sprintf("n%d", i), Event: "node_down", Time: time.Unix(int64(i), 0)}
		if i < 5 {
			n.Block = &Block{}
		}
		k, err := q.add(n)
		if dropped += k; err != nil {
			t.Fatal(err)
		}
	}
	q.release()
	blocks, others := q.waiting()
	if dropped != 10 || len(blocks) != 5 || len(others) != maxQueued-5 || others[0].ID != "n15" || files(t, q.dir) != maxQueued {
		t.Errorf("%d dropped, %d and %d are left, the first is %s", dropped, len(blocks), len(others), others[0].ID)
	}
}

// Where there is no room for all, what is bad stays, whoever has caused how many others.
func TestQueueKeepsTheWorst(t *testing.T) {
	q, err := openQueue(filepath.Join(t.TempDir(), "ops"))
	if err != nil {
		t.Fatal(err)
	}
	add := func(id, severity string) {
		t.Helper()
		if _, err := q.add(&Notice{ID: id, Event: "best_share", Severity: severity, Time: time.Unix(1, 0)}); err != nil {
			t.Error(err)
		}
	}
	add("disk", critical)
	add("node", warning)
	for i := range maxQueued {
		add(fmt.Sprintf("best%d", i), info)
	}
	q.release()
	if _, others := q.waiting(); len(others) != maxQueued || others[0].ID != "disk" || others[1].ID != "node" || others[2].ID != "best2" {
		t.Errorf("%d are left, the first are %q", len(others), entryIDs(others)[:3])
	}
}

// What cannot be written at first is written as soon as it can be. Until a digest is, what is
// in it stays in its files, and it goes with the digest.
func TestWrittenLater(t *testing.T) {
	for _, written := range []bool{true, false} {
		dir := filepath.Join(t.TempDir(), "ops")
		q, err := openQueue(dir)
		if err != nil {
			t.Fatal(err)
		}
		hinder := func(id string) (end func()) {
			if err := os.Mkdir(q.path(id), 0o700); err != nil { // no file, whoever asks
				t.Fatal(err)
			}
			return func() { os.Remove(q.path(id)) }
		}
		kept := func(want ...string) {
			t.Helper()
			again, err := openQueue(dir)
			_, others := again.waiting()
			if diff := cmp.Diff(want, entryIDs(others)); diff != "" || err != nil {
				t.Errorf("in files, -want +got:\n%s%v", diff, err)
			}
		}
		ids := []string{"n0", "n1", "n2"}
		for i, id := range ids {
			end := func() {}
			if i == 1 {
				end = hinder(id)
			}
			if _, err := q.add(&Notice{ID: id, Event: "node_down", Time: time.Unix(int64(i), 0)}); (err != nil) != (i == 1) {
				t.Errorf("%s: %v", id, err)
			}
			end()
		}
		kept("n0", "n2")
		q.release()
		kept(ids...)

		_, others := q.waiting()
		end := hinder("digest-" + fileOf(strings.Join(ids, "\n")))
		d, err := q.merge(others)
		if end(); err == nil || d.Count != len(ids) {
			t.Errorf("%+v, %v", d, err)
		}
		kept(ids...)
		if written {
			q.release()
			kept(d.ID)
		}
		if err := q.remove(d.ID); err != nil || files(t, dir) != 0 {
			t.Errorf("%d files, %v", files(t, dir), err)
		}
		if _, err := q.add(&Notice{ID: "n1", Event: "node_down"}); err != nil || len(q.entries) != 0 { // which was in it
			t.Errorf("%q, %v", entryIDs(q.entries), err)
		}
	}
}

// Where nothing can be written messages go all the same.
func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s, _ := testSender(t, f, 0)
		if err := os.RemoveAll(s.queue.dir); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.queue.dir, nil, 0o600); err != nil { // no directory, whoever asks
			t.Fatal(err)
		}
		for i := range 8 {
			if _, err := s.queue.add(&Notice{ID: fmt.Sprint(i), Event: "node_down", Time: time.Now()}); err == nil {
				t.Error("it was written")
			}
		}
		s.queue.release()
		s.start()
		time.Sleep(time.Minute)
		if list := f.takeSent(); len(list) != 1 || list[0].Count != 8 {
			t.Errorf("%+v", list)
		}
		s.end()
	})
}

func FuzzEntry(f *testing.F) {
	for _, s := range []string{`{"id":"a","event":"node_down","time":"2026-11-30T12:00:00Z","title":"x"}`, `{"id":"d","event":"digest","count":2,"items":[{"event":"block_found"}],"replaces":["a"]}`, `{`, `null`, `{"id":1}`, `{"id":"a","event":"x","count":-1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := parseEntry(data)
		if err != nil {
			return
		}
		e.outside()
		digestOf([]*Notice{&e.Notice, &e.Notice}, "d")
		checkEncoded(t, e.Title)
	})
}
