package logfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/event"
)

// screen is a console whose writes can be held up or refused.
type screen struct {
	hold chan struct{} // nil: never

	mu  sync.Mutex
	buf bytes.Buffer
	err error
}

func (s *screen) Write(b []byte) (int, error) {
	if s.hold != nil {
		<-s.hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	return s.buf.Write(b)
}

func (s *screen) refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

func open(t *testing.T, c Config) *Log {
	t.Helper()
	l, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(t.Context()) })
	return l
}

func say(l *Log, level event.Level, text string) { event.Func(l.Tell).Say(level, text) }

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLine(t *testing.T) {
	when := time.Date(2026, 1, 31, 9, 5, 7, 42e6, time.Local)
	for text, want := range map[string]string{
		"Network diff set to 1.0": "Network diff set to 1.0",
		"a\nb\r k=x\ny":           `a\nb\r k=x\ny`,
		"evil\x1b[2J\u0085\xff":   `evil\x1b[2J\u0085\xff`,
		"矿池 ünï":                  "矿池 ünï",
	} {
		path := filepath.Join(t.TempDir(), "ckpool.log")
		l := open(t, Config{Path: path, Level: event.Debug})
		l.tell(event.Event{Level: event.Info, Text: text}, when)
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		want = "[2026-01-31 09:05:07.042] " + want + "\n"
		if got := read(t, path); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestLevels(t *testing.T) {
	for loglevel := range event.Debug + 1 {
		t.Run(fmt.Sprint(loglevel), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ckpool.log")
			stderr := &screen{}
			l := open(t, Config{Path: path, Console: stderr, Level: 7})
			l.SetLevel(loglevel)
			var file, console string
			for n := range event.Debug + 1 {
				say(l, n, fmt.Sprint("level", n))
				if n <= loglevel {
					file += fmt.Sprint("level", n, " ")
				}
				if n <= min(loglevel, event.Warning) {
					console += fmt.Sprint("level", n, " ")
				}
			}
			l.Close(t.Context())
			if got := texts(read(t, path)); got != file {
				t.Errorf("file %q, want %q", got, file)
			}
			if got := texts(stderr.String()); got != console {
				t.Errorf("console %q, want %q", got, console)
			}
		})
	}
}

// texts are the lines without their stamps.
func texts(s string) string {
	stamp := regexp.MustCompile(`(?m)^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\] `)
	return strings.ReplaceAll(stamp.ReplaceAllString(s, ""), "\n", " ")
}

// On a terminal a line says the time as people do, wipes the status line, and
// what matters stands out, unless colours are not wanted.
func TestTerminal(t *testing.T) {
	const wipe = "\x1b[2K\r"
	when := time.Date(2026, 1, 31, 9, 5, 7, 42e6, time.Local)
	for _, tt := range []struct {
		event                     event.Event
		colours, plain, elsewhere string
	}{
		{event.Event{Level: event.Warning}, "Jan 31 09:05:07 x", "Jan 31 09:05:07 x", "[2026-01-31 09:05:07.042] x"},
		{event.Event{Level: event.Warning, Headline: true}, "Jan 31 09:05:07 \x1b[1;32mx\x1b[0m", "Jan 31 09:05:07 x", "[2026-01-31 09:05:07.042] x"},
		{event.Event{Level: event.Error}, "Jan 31 09:05:07 \x1b[31mx\x1b[0m", "Jan 31 09:05:07 x", "[2026-01-31 09:05:07.042] x"},
	} {
		for c, want := range map[Config]string{
			{Terminal: true, Colours: true}:  wipe + tt.colours,
			{Terminal: true}:                 wipe + tt.plain,
			{Terminal: false, Colours: true}: tt.elsewhere,
		} {
			stderr := &screen{}
			c.Console, c.Level = stderr, 4
			l := open(t, c)
			tt.event.Text = "x"
			l.tell(tt.event, when)
			l.Close(t.Context())
			if got := stderr.String(); got != want+"\n" {
				t.Errorf("%+v: console got %q, want %q", tt.event, got, want)
			}
		}
	}
}

func TestRename(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "ckpool.log")
		old := path + ".1"
		l := open(t, Config{Path: path, Level: 5})
		write := func(text string) {
			say(l, event.Warning, text)
			synctest.Wait()
		}
		write("one")
		if err := os.Rename(path, old); err != nil {
			t.Fatal(err)
		}
		write("two")
		time.Sleep(61 * time.Second)
		write("three")
		if got := texts(read(t, old)); got != "one two " {
			t.Errorf("renamed file has %q", got)
		}
		if got := texts(read(t, path)); got != "three " {
			t.Errorf("new file has %q", got)
		}
		os.Rename(path, old)
		l.Reopen()
		write("four")
		if got := texts(read(t, path)); got != "four " {
			t.Errorf("after Reopen: new file has %q", got)
		}
	})
}

// A directory that vanished must not end logging.
func TestReopenFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "logs")
		os.Mkdir(dir, 0o750)
		path := filepath.Join(dir, "ckpool.log")
		stderr := &screen{}
		l := open(t, Config{Path: path, Console: stderr, Level: 5})
		moved := dir + ".moved"
		os.Rename(dir, moved)
		for range 3 {
			l.Reopen()
			say(l, event.Notice, "still here")
			synctest.Wait()
		}
		if got := strings.Count(read(t, filepath.Join(moved, "ckpool.log")), "still here"); got != 3 {
			t.Errorf("%d of 3 lines in the old file", got)
		}
		if got := strings.Count(stderr.String(), "cannot write the log"); got != 1 {
			t.Errorf("told %d times, want once a minute: %s", got, stderr)
		}
	})
}

func TestDiskFull(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Fatal("no /dev/full:", err)
	}
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "ckpool.log")
		if err := os.Symlink("/dev/full", path); err != nil {
			t.Fatal(err)
		}
		stderr := &screen{}
		l := open(t, Config{Path: path, Console: stderr, Level: 5})
		for range 100 {
			say(l, event.Notice, "kept")
			time.Sleep(time.Second)
		}
		if got := strings.Count(stderr.String(), "cannot write the log, will try again: write "+path+": no space left"); got != 2 {
			t.Errorf("told %d times in 100 s, want once a minute:\n%s", got, stderr)
		}
		os.Remove(path)
		time.Sleep(2 * time.Minute)
		say(l, event.Notice, "after")
		synctest.Wait()
		got := texts(read(t, path))
		if strings.Count(got, "kept ") != 100 || !strings.HasSuffix(got, "kept after ") {
			t.Errorf("after recovery the file has %q", got)
		}
		if !strings.Contains(stderr.String(), "the log is written again") {
			t.Errorf("recovery not told:\n%s", stderr)
		}
	})
}

func TestSlowConsole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stderr := &screen{hold: make(chan struct{})}
		l := open(t, Config{Console: stderr, Level: 5})
		long := strings.Repeat("x", 1000)
		start := time.Now()
		const n = 3000
		for range n {
			say(l, event.Warning, long)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("the caller waited %v", waited)
		}
		_, dropped := l.Dropped()
		if dropped == 0 || dropped >= n {
			t.Errorf("%d of %d lines dropped", dropped, n)
		}
		close(stderr.hold)
		synctest.Wait()
		got := strings.Split(strings.TrimSuffix(stderr.String(), "\n"), "\n")
		if want := n - int(dropped) + 1; len(got) != want {
			t.Errorf("%d lines written, want %d", len(got), want)
		}
		last := fmt.Sprintf("] %d log lines dropped: they came faster than they could be written", dropped)
		if line := got[len(got)-1]; !strings.HasSuffix(line, last) {
			t.Errorf("last line %q, want the drops told", line)
		}
		for _, line := range got[:len(got)-1] {
			if !strings.HasPrefix(line, "[") || !strings.HasSuffix(line, "] "+long) {
				t.Fatalf("torn line %q", line)
			}
		}
	})
}

// What was said before is on the console when FlushConsole returns, unless that
// takes too long.
func TestFlushConsole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stderr := &screen{hold: make(chan struct{})}
		l := open(t, Config{Console: stderr, Level: 5})
		say(l, event.Warning, "one")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		l.FlushConsole(ctx)
		if waited := time.Since(start); waited != time.Second || stderr.String() != "" {
			t.Errorf("returned after %v with %q", waited, stderr)
		}
		close(stderr.hold)
		for _, line := range []string{"two", "three"} {
			say(l, event.Warning, line)
			l.FlushConsole(t.Context())
			if !strings.HasSuffix(stderr.String(), line+"\n") {
				t.Errorf("%q is not written: %q", line, stderr)
			}
		}
		l.FlushConsole(t.Context()) // nothing is left
	})
}

// partial takes a few bytes of each write and fails, like a filling disk.
type partial struct {
	screen
	failing bool
}

func (p *partial) Write(b []byte) (int, error) {
	if p.failing && len(b) > 7 {
		n, _ := p.screen.Write(b[:7])
		return n, errors.New("full")
	}
	return p.screen.Write(b)
}

func TestTornWriteContinues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &partial{failing: true}
		l := open(t, Config{Console: p, Level: 5})
		say(l, event.Warning, "one")
		time.Sleep(3 * time.Second)
		say(l, event.Warning, "two")
		time.Sleep(time.Minute)
		if got := texts(p.String()); got != "one two " {
			t.Errorf("got %q", p.String())
		}
	})
}

func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stderr := &screen{hold: make(chan struct{})}
		l := open(t, Config{Console: stderr, Level: 5})
		say(l, event.Warning, "x")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close of a stuck console: %v", err)
		}
		close(stderr.hold)
		if err := l.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestCloseTellsError(t *testing.T) {
	stderr := &screen{}
	l := open(t, Config{Console: stderr, Level: 5})
	broken := errors.New("broken pipe")
	stderr.refuse(broken)
	say(l, event.Warning, "x")
	if err := l.Close(t.Context()); !errors.Is(err, broken) {
		t.Errorf("Close: %v", err)
	}
}

func TestOpenError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "ckpool.log")
	if _, err := Open(Config{Path: path}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v does not name the file", err)
	}
}

func TestConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ckpool.log")
	l := open(t, Config{Path: path, Level: 5})
	const writers, each = 8, 200
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				say(l, event.Warning, fmt.Sprintf("line writer=%d i=%d", w, i))
				l.Reopen()
			}
		})
	}
	wg.Wait()
	l.Close(t.Context())
	whole := regexp.MustCompile(`^\[[^]]+\] line writer=\d i=\d+$`)
	got := strings.Split(strings.TrimSuffix(read(t, path), "\n"), "\n")
	for _, line := range got {
		if !whole.MatchString(line) {
			t.Fatalf("torn line %q", line)
		}
	}
	if len(got) != writers*each {
		t.Errorf("%d lines, want %d", len(got), writers*each)
	}
}

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(10 * time.Second)
		pass := func(text, want string) {
			t.Helper()
			got, ok := l.Pass(text)
			if got != want || ok != (want != "") {
				t.Errorf("Pass(%q) = %q, %v; want %q", text, got, ok, want)
			}
		}
		pass("a", "a")
		pass("a", "")
		pass("b", "b")
		time.Sleep(9 * time.Second)
		pass("a", "")
		time.Sleep(time.Second)
		pass("a", "a (and 2 times before)")
		time.Sleep(10 * time.Second)
		pass("a", "a")
		for i := range 3 * maxTexts {
			l.Pass(fmt.Sprint(i))
		}
		if n := len(l.recent); n > maxTexts {
			t.Errorf("remembers %d texts", n)
		}
	})
}

func BenchmarkLog(b *testing.B) {
	l, err := Open(Config{Path: filepath.Join(b.TempDir(), "log"), Level: 5})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close(b.Context())
	b.ReportAllocs()
	for b.Loop() {
		say(l, event.Warning, "Accepted client share diff=42")
	}
}
