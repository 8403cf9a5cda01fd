package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/page"
	"github.com/ckpool/ckpool/internal/terminal"
)

// topCommand is of ckpmsg, too: it asks again and again.
var topCommand = control.Command{Name: "top", Text: "the pool and its users or workers, live on the terminal"}

// What a terminal is told. Nothing else in a frame begins with an escape.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l" // a screen of its own, no cursor, lines are not wrapped
	leaveScreen = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
	resetStyle  = "\x1b[0m"
)

const (
	topInterval = time.Second      // between two frames
	topPatience = 3 * time.Second  // with a pool that does not answer
	topNotice   = 10 * time.Second // that what has happened is shown
)

// moment is the pool at one time, and the list that was asked for.
type moment struct {
	status
	list list
	rows []row
}

func askMoment(ctx context.Context, c *control.Client, l list) (m *moment, err error) {
	m = &moment{list: l}
	if m.status, err = askStatus(ctx, c); err != nil {
		return nil, err
	}
	if l == workerList {
		workers, err := c.Workers(ctx)
		m.rows = workerRows(workers)
		return m, err
	}
	users, err := c.Users(ctx)
	m.rows = userRows(users)
	return m, err
}

// top shows the pool until its user leaves. Where nobody could, it is one screen.
func (o *options) top(stdin *os.File, stdout io.Writer) error {
	out, ok := stdout.(*os.File)
	if o.json {
		return errors.New("top is for people, --json goes with status")
	}
	if !ok || !term.IsTerminal(int(out.Fd())) || !term.IsTerminal(int(stdin.Fd())) || os.Getenv("TERM") == "dumb" {
		return o.plainTop(stdout)
	}
	t := &top{options: o, out: out, wake: make(chan struct{}, 1), answers: make(chan answer)}
	t.view.color = os.Getenv("NO_COLOR") == ""
	return t.run(stdin)
}

// plainTop prints one screen, of a pipe as wide as it is.
func (o *options) plainTop(stdout io.Writer) error {
	m, err := askMoment(context.Background(), o.client, userList)
	if err != nil {
		return o.explain(err)
	}
	v := view{width: o.columns()}
	if err := printStatus(page.Page{Writer: stdout, Columns: v.width}, &m.status); err != nil {
		return err
	}
	const rows = 20
	v.sort(m.rows)
	fmt.Fprintln(stdout)
	for _, l := range v.table(m.rows[:min(rows, len(m.rows))], m.stats.Update.Time) {
		fmt.Fprintln(stdout, strings.TrimRight(l.text, " "))
	}
	if more := len(m.rows) - rows; more > 0 {
		fmt.Fprintf(stdout, "%s more: users lists all\n", figures.Count(int64(more)))
	}
	return nil
}

// top is the live screen.
type top struct {
	// immutable
	options *options
	out     *os.File
	wake    chan struct{} // to ask at once
	answers chan answer

	list atomic.Int32 // what is asked for

	// owned by run
	view view
}

// answer is a moment, or why there is none.
type answer struct {
	*moment
	err error
}

// run ends when q or control-C is typed, and gives the terminal back. It waits for its
// goroutines.
func (t *top) run(stdin *os.File) error {
	client := *t.options.client
	client.ReplyTimeout = min(client.ReplyTimeout, topPatience)
	first, err := askMoment(context.Background(), &client, userList)
	if err != nil {
		return t.options.explain(err)
	}
	restore, err := terminal.Keep(stdin, func() { fmt.Fprint(t.out, leaveScreen) })
	if err != nil {
		return err
	}
	defer restore()
	if err := readKeysRaw(int(stdin.Fd())); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	keys := make(chan byte)
	running.Go(func() { readKeys(ctx, int(stdin.Fd()), keys) })
	running.Go(func() { t.ask(ctx, &client) })
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)

	fmt.Fprint(t.out, enterScreen)
	t.view.take(answer{moment: first}, time.Now())
	tick := time.NewTicker(topInterval)
	defer tick.Stop()
	for {
		if err := t.draw(time.Now()); err != nil {
			return fmt.Errorf("write to the terminal: %w", err)
		}
		select {
		case key, ok := <-keys:
			if !ok || t.view.press(key) {
				return nil
			}
			if int32(t.view.list) != t.list.Swap(int32(t.view.list)) {
				select {
				case t.wake <- struct{}{}:
				default: // it is going to ask
				}
			}
		case a := <-t.answers:
			a.err = t.options.explain(a.err)
			t.view.take(a, time.Now())
		case <-resized:
		case <-tick.C:
		}
	}
}

// ask asks until ctx ends: at most a tenth of the time, however long the lists are.
func (t *top) ask(ctx context.Context, c *control.Client) {
	pause := topInterval
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		case <-time.After(pause):
		}
		began := time.Now()
		m, err := askMoment(ctx, c, list(t.list.Load()))
		pause = max(topInterval, 9*time.Since(began))
		if err != nil {
			pause = topInterval
		}
		select {
		case <-ctx.Done():
			return
		case t.answers <- answer{m, err}:
		}
	}
}

// draw writes a frame, whatever was on the screen.
func (t *top) draw(now time.Time) error {
	width, height, err := term.GetSize(int(t.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		width, height = 80, 24
	}
	t.view.width, t.view.height = width, height
	var b strings.Builder
	b.WriteString(home)
	lines := t.view.frame(now)
	for i, l := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		// Before the text: at the end of a line that is full they would take its last letter.
		if i < len(lines)-1 {
			b.WriteString(clearLine)
		} else {
			b.WriteString(clearBelow)
		}
		style := l.style
		if !t.view.color {
			style = ""
		}
		b.WriteString(style + l.text)
		if style != "" {
			b.WriteString(resetStyle)
		}
	}
	_, err = t.out.WriteString(b.String())
	return err
}

// readKeysRaw has a terminal give each key at once, and reading it end soon where there
// is none.
func readKeysRaw(fd int) error {
	if _, err := term.MakeRaw(fd); err != nil {
		return err
	}
	settings, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	settings.Cc[unix.VMIN], settings.Cc[unix.VTIME] = 0, 1 // tenths of a second
	return unix.IoctlSetTermios(fd, unix.TCSETS, settings)
}

// readKeys sends what is typed until ctx ends, or closes keys when the terminal is gone.
// Of the sequences that other keys make the letters that mean something are left.
func readKeys(ctx context.Context, fd int, keys chan<- byte) {
	buffer := make([]byte, 64)
	for ctx.Err() == nil {
		n, err := unix.Read(fd, buffer)
		if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			close(keys)
			return
		}
		text := arrows.Replace(string(buffer[:max(n, 0)]))
		for i := range len(text) {
			select {
			case keys <- text[i]:
			case <-ctx.Done():
				return
			}
		}
	}
}

// arrows are keys that a terminal sends as sequences, and those that do the same.
var arrows = strings.NewReplacer("\x1b[A", "k", "\x1bOA", "k", "\x1b[B", "j", "\x1bOB", "j", "\x1b[5~", "-", "\x1b[6~", " ", "\x1b[", "", "\x1bO", "")
