package main

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/testkit/wait"
)

var update = flag.Bool("update", false, "write the screens of testdata/screens anew")

// aMoment is a pool with a few users, of whom some have names that would steer a terminal.
func aMoment(l list) *moment {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	m := &moment{list: l, status: status{
		version: "ckpool 1.0",
		stats: control.PoolStats{
			Start: control.At(at.Add(-26 * time.Hour)), Update: control.At(at), Workers: 31, Users: 5,
			AcceptedCount: 123456, RejectedCount: 518, SPS1: 0.25, Accepted: 1.26e12, BestShare: 12345678901.5,
			DSPS1: 290000, DSPS5: 280000, DSPS60: 275000, DSPS1440: 270000,
			NetworkDifficulty: 126e12, Height: 900008, Work: control.At(at.Add(-12 * time.Second)),
		},
		rejects: control.Counts{{Name: "stale", Count: 500}, {Name: "duplicate", Count: 18}},
		nodes: []control.Node{
			{URL: "127.0.0.1:8332", State: "ok", Current: true, Version: "/Satoshi:29.0.0/"},
			{URL: "10.0.0.2:8332", State: "unreachable", Reason: "nothing listens there (connection refused): is the node running with server=1, and is this its rpcport?"},
		},
	}}
	rates := func(v float64) control.Rates {
		return control.Rates{DSPS1: v, DSPS5: v, DSPS60: v / 2, DSPS1440: v / 4}
	}
	ago := func(s int) control.Time { return control.At(at.Add(-time.Duration(s) * time.Second)) }
	if l == workerList {
		m.rows = workerRows([]control.Worker{
			{Worker: "alice.rig1", Rates: rates(1000), LastShare: ago(2), Started: ago(900), BestDifficulty: 1e9, Rejects: control.Counts{{Name: "stale", Count: 4}, {Name: "duplicate", Count: 2}}},
			{Worker: "alice.rig2", Rates: rates(0), LastShare: ago(90000), BestDifficulty: 5},
			{Worker: "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4.bitaxe", Rates: rates(250), LastShare: ago(7), Started: ago(100), BestDifficulty: 1e6},
		})
		return m
	}
	m.rows = userRows([]control.User{
		{User: "alice", Workers: 12, Rates: rates(200000), LastShare: ago(1), BestDifficulty: 12345678901.5},
		{User: "bob\x1b[2J\u009b2J\u202egnp.exe", Workers: 3, Rates: rates(50000), LastShare: ago(61), BestDifficulty: 3e6},
		{User: "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", Workers: 15, Rates: rates(40000), LastShare: ago(3), BestDifficulty: 4e9},
		{User: "carol", Workers: 1, Rates: rates(250), LastShare: ago(30), BestDifficulty: 1234},
		{User: "dave", LastShare: control.Time{}, BestDifficulty: 0},
	})
	return m
}

// The screens are golden texts: one file for each size.
func TestScreens(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 1, 0, time.UTC)
	for name, tt := range map[string]struct {
		width, height int
		change        func(v *view)
	}{
		"80x24":   {80, 24, func(*view) {}},
		"workers": {80, 24, func(v *view) { v.press('w'); v.take(answer{moment: aMoment(workerList)}, at) }},
		"late":    {80, 24, func(v *view) { v.press('w'); v.take(answer{moment: aMoment(userList)}, at) }}, // asked for before
		"wide":    {132, 40, func(*view) {}},
		"narrow":  {40, 20, func(*view) {}},
		"small":   {30, 8, func(*view) {}},
		"tiny":    {10, 2, func(*view) {}},
		"by-name": {80, 24, func(v *view) { v.press('n'); v.press('n') }},
		"lost":    {80, 24, func(v *view) { v.take(answer{err: errors.New("ckpmsg: nobody is there\x1b[2J")}, at.Add(-time.Minute)) }},
		"started-new": {80, 24, func(v *view) {
			m := aMoment(userList)
			m.stats.Start = m.stats.Update
			m.version = "ckpool 2.0"
			v.take(answer{err: errors.New("gone")}, at.Add(-4*time.Second))
			v.take(answer{moment: m}, at)
		}},
		"one": {80, 24, func(v *view) {
			m := aMoment(userList)
			m.rows = m.rows[:1]
			v.take(answer{moment: m}, at)
		}},
		"scrolled": {80, 24, func(v *view) { v.press('j'); v.press('j') }},
	} {
		t.Run(name, func(t *testing.T) {
			v := view{width: tt.width, height: tt.height}
			v.take(answer{moment: aMoment(userList)}, at)
			tt.change(&v)
			var b strings.Builder
			for _, l := range v.frame(at) {
				b.WriteString(strings.TrimRight(l.text, " ") + "\n")
			}
			file := filepath.Join("testdata", "screens", name)
			if *update {
				if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil || b.String() != string(want) {
				t.Errorf("%v: got\n%s\nwant\n%s", err, &b, want)
			}
		})
	}
}

// Whatever a screen measures, and whatever is typed, a frame fits it and has nothing in it
// that steers a terminal.
func TestFramesFit(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	at := time.Date(2026, 11, 22, 12, 0, 1, 0, time.UTC)
	for range 1000 {
		v := view{width: 1 + random.IntN(150), height: 1 + random.IntN(60)}
		v.take(answer{moment: aMoment(userList)}, at)
		for range random.IntN(12) {
			v.press("uwjk -nrlcdbh\tx[A~"[random.IntN(18)])
			if random.IntN(3) == 0 {
				v.take(answer{moment: aMoment(v.list)}, at)
			}
		}
		if random.IntN(3) == 0 {
			v.take(answer{err: errors.New("gone")}, at)
		}
		lines := v.frame(at)
		if len(lines) > v.height || len(lines) == 0 {
			t.Fatalf("%d lines on %dx%d", len(lines), v.width, v.height)
		}
		for _, l := range lines {
			if n := utf8.RuneCountInString(l.text); n > v.width || strings.ContainsAny(l.text, "\x1b\u009b\u202e\n\r") {
				t.Fatalf("%dx%d: %q", v.width, v.height, l.text)
			}
		}
	}
}

// emulator is a terminal that a program draws frames on.
type emulator struct {
	t        *testing.T
	keyboard *os.File

	mu  sync.Mutex
	all string // guarded by mu
}

// frame is the last whole one, its styles left out.
func (e *emulator) frame() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	end := strings.LastIndex(e.all, home) // of the next one
	if end < 0 {
		return ""
	}
	begin := strings.LastIndex(e.all[:end], home)
	if begin < 0 {
		return ""
	}
	return strings.NewReplacer(clearLine, "", clearBelow, "", resetStyle, "", bold, "", dim, "", invert, "", red, "", green, "", "\r", "").Replace(e.all[begin+len(home) : end])
}

func (e *emulator) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.all
}

// expect waits for a frame.
func (e *emulator) expect(what string, holds func(frame string) bool) {
	e.t.Helper()
	defer func() {
		if e.t.Failed() {
			e.t.Logf("the last frame:\n%s", e.frame())
		}
	}()
	wait.Until(e.t, time.Minute, "a frame with "+what, func() bool { return holds(e.frame()) })
}

func (e *emulator) has(text string) {
	e.t.Helper()
	e.expect(text, func(frame string) bool { return strings.Contains(frame, text) })
}

func (e *emulator) press(keys string) {
	e.t.Helper()
	if _, err := e.keyboard.WriteString(keys); err != nil {
		e.t.Fatal(err)
	}
}

func (e *emulator) resize(columns, rows uint16) {
	e.t.Helper()
	if err := unix.IoctlSetWinsize(int(e.keyboard.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}); err != nil {
		e.t.Fatal(err)
	}
}

// A user looks, sorts, scrolls, makes the window smaller, and sees the pool go and come
// back; the terminal is as it was.
func TestTop(t *testing.T) {
	for _, color := range []bool{true, false} {
		t.Run(fmt.Sprint("color ", color), func(t *testing.T) {
			t.Setenv("TERM", "xterm")
			t.Setenv("NO_COLOR", "")
			if !color {
				t.Setenv("NO_COLOR", "1")
			}
			testTop(t, color)
		})
	}
}

func testTop(t *testing.T, color bool) {
	dir, err := os.MkdirTemp("", "ck")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	pool := filepath.Join(dir, "ckpool")
	stop, err := fakePool(pool)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { stop() }()
	keyboard, tty := openPTY(t)
	e := &emulator{t: t, keyboard: keyboard}
	e.resize(80, 24)
	before, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := keyboard.Read(buffer)
			e.mu.Lock()
			e.all += string(buffer[:n])
			e.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	o := &options{client: control.Dial(dir, "ckpool", "listener"), name: "ckpool"}
	ended := make(chan error, 1)
	go func() { ended <- o.top(tty, tty) }()

	e.has("pool        ckpool 1.0, up 16m 40s")
	e.has("H/s 1m↓")
	e.has("2 users")
	e.press("n")
	e.has("USER↓")
	e.press("n")
	e.has("USER↑")
	e.press("w")
	e.has("3 workers")
	e.has("alice.rig1")
	e.press("\x1b[B")
	e.has("from 2 of 3 workers")
	e.resize(30, 8)
	e.expect("30 columns", func(frame string) bool {
		lines := strings.Split(frame, "\n")
		for _, l := range lines {
			if utf8.RuneCountInString(l) > 30 {
				return false
			}
		}
		return len(lines) <= 8
	})
	e.resize(100, 30)
	e.press("u")
	e.has("2 users")

	stop()
	e.has("NO ANSWER for ")
	if err := os.RemoveAll(pool); err != nil {
		t.Fatal(err)
	}
	if stop, err = fakePool(pool); err != nil {
		t.Fatal(err)
	}
	e.has("The pool: it answers again after ")

	e.press("q")
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("q does not end it")
	}
	after, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if *after != *before {
		t.Error("the terminal's settings are not restored")
	}
	e.expect("the end", func(string) bool { return strings.HasSuffix(e.text(), leaveScreen) })
	text := e.text()
	if got := strings.Contains(text, invert) || strings.Contains(text, red); got != color {
		t.Errorf("styles: %v, want %v", got, color)
	}
	// What clears stands at the beginning of a line: behind a full one it takes the last letter.
	begins := strings.NewReplacer(home+clearLine, "", "\n"+clearLine, "", home+clearBelow, "", "\n"+clearBelow, "").Replace(text)
	if strings.Contains(begins, clearLine) || strings.Contains(begins, clearBelow) {
		t.Error("a line is cleared behind its text")
	}
	// What a name would do to the terminal is not done.
	if strings.Contains(text, "\x1b[2J") || !strings.Contains(text, "bob.[2J") {
		t.Error("a name steers the terminal")
	}
}
