package handover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ckpool/ckpool/control"
)

// What a new process may find instead of one to take over from.
var (
	ErrNobody  = errors.New("no running instance answers")
	ErrForeign = errors.New("the running instance passes on listening sockets only")
	ErrSilent  = errors.New("the running instance does not answer")
)

// Command is what a new process sends to the old one's control socket, with
// the newest format it reads behind a space.
const Command = "handover"

// sends keeps frames of several goroutines apart.
type sends struct{ sync.Mutex }

func isBroken(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// Accept answers the command of a new process on connection c: whether its
// format will do. arg is what stood behind the command.
func Accept(c *net.UnixConn, arg string) error {
	newest, err := strconv.Atoi(strings.TrimSpace(arg))
	if err != nil {
		err = fmt.Errorf("want the newest format that is read, got %q", arg)
	} else if newest < Format {
		err = fmt.Errorf("this instance gives handover format %d, the new program reads up to %d: it is too old to take over", Format, newest)
	}
	if err != nil {
		return err
	}
	return control.WriteFrame(c, []byte(Command+" "+strconv.Itoa(Format)))
}

// Link is a new process's connection to the one it takes over from.
type Link struct {
	*link
	old   peer
	hello Hello
	step  func(name string)
}

// AgreeTime is for the first words; tests shorten it.
var AgreeTime = 5 * time.Second

// Dial asks the instance with the control socket at path for everything. The
// error is ErrNobody when none is there, ErrForeign when it is one that does
// not know how. step, if not nil, is called with the name of each step once it
// is done.
func Dial(ctx context.Context, path string, step func(name string)) (*Link, error) {
	if step == nil {
		step = func(string) {}
	}
	var dialer net.Dialer
	dialed, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNobody, err)
	}
	l := &Link{link: newLink(ctx, dialed.(*net.UnixConn)), old: peer{fd: -1}, step: step}
	l.within(AgreeTime)
	defer context.AfterFunc(ctx, l.stop)()
	if err := l.agree(); err != nil {
		if l.Gone(err) {
			err = fmt.Errorf("%w: %w", ErrNobody, err)
		}
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Link) agree() error {
	pid, _, err := Credentials(l.conn)
	if err != nil {
		return err
	}
	l.old = findPeer(pid) // or who had the socket before, until the old process has said something
	if err := l.askSender(); err != nil {
		return err
	}
	l.step("connected")
	if err := control.WriteFrame(l.conn, []byte(Command+" "+strconv.Itoa(Format))); err != nil {
		return fmt.Errorf("%w: %w", ErrNobody, err)
	}
	reply, err := control.ReadFrame(l.conn, 1<<20)
	switch {
	case errors.Is(err, io.EOF):
		return ErrForeign // closed without data
	case err != nil:
		return fmt.Errorf("%w: %w", ErrSilent, err)
	case strings.EqualFold(string(reply), "unknown"):
		return ErrForeign
	case control.Failed(string(reply)):
		return fmt.Errorf("the running instance refuses: %s", control.Refusal(string(reply)))
	case !strings.HasPrefix(string(reply), Command+" "):
		return fmt.Errorf("the running instance answers %.100q to %s", reply, Command)
	}
	f, err := l.receive()
	if err != nil {
		return fmt.Errorf("the running instance says nothing of itself: %w", err)
	}
	if f.kind == kindRefuse {
		return fmt.Errorf("the running instance refuses: %s", f.data)
	}
	if f.kind != kindHello {
		return fmt.Errorf("the running instance begins with %v", f.kind)
	}
	if err := json.Unmarshal(f.data, &l.hello); err != nil {
		return fmt.Errorf("the running instance's hello: %w", err)
	}
	if l.sender >= 0 {
		l.old.close()
		l.old = findPeer(l.sender)
	}
	if l.hello.Format < 1 || l.hello.Format > Format {
		return fmt.Errorf("the running instance gives handover format %d, this program reads 1 to %d", l.hello.Format, Format)
	}
	l.step("hello")
	return nil
}

// Hello is what the old process said of itself.
func (l *Link) Hello() Hello { return l.hello }

// Sink is where the instance moves to.
type Sink interface {
	// Section takes a section with its descriptors, which are the sink's from
	// then on. One that it does not know it answers with Unknown.
	Section(kind Kind, data []byte, fds []int) error
	// Ready makes ready to serve, within ctx. It runs beside Section until the
	// first copy is over.
	Ready(ctx context.Context) error
	// Complete is called when everything has come.
	Complete() error
}

// Incoming is an instance that takes over.
type Incoming interface {
	Sink
	// Miners is how many have come.
	Miners() int
	// Abandon lets go of everything that has come, for a process that does not take over
	// after all.
	Abandon()
}

// Take receives everything. Without an error the instance is this process's
// once Start has succeeded too. ctx bounds it all.
func (l *Link) Take(ctx context.Context, sink Sink) error {
	_ = l.conn.SetDeadline(time.Time{})
	defer context.AfterFunc(ctx, l.stop)()
	err := l.take(ctx, sink)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

func (l *Link) take(ctx context.Context, sink Sink) error {
	preparing, cancel := context.WithCancel(ctx)
	ready := make(chan error, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		err := sink.Ready(preparing)
		if err != nil {
			_ = l.conn.SetReadDeadline(time.Unix(1, 0)) // wake the receiver
		}
		ready <- err
	})
	if err := l.copies(sink, ready); err != nil {
		return err
	}
	l.step("end")
	if err := sink.Complete(); err != nil {
		return err
	}
	l.step("complete")
	if err := l.send(kindHave, nil, nil); err != nil {
		return l.orphaned(err)
	}
	l.step("have")
	f, err := l.receive()
	switch {
	case err != nil:
		return l.orphaned(err)
	case f.kind == kindYours:
		l.step("yours")
		return nil
	}
	return l.unexpected(f)
}

// copies receives sections until the end.
func (l *Link) copies(sink Sink, ready <-chan error) error {
	marked := false
	for {
		f, err := l.receive()
		if err != nil {
			return l.stopped(err, ready)
		}
		switch {
		case f.kind >= FirstSection:
			if err := sink.Section(f.kind, f.data, f.fds); err != nil {
				return err
			}
			if marked && len(f.fds) > 0 {
				l.step("section")
			}
		case f.kind == kindMark:
			if !marked {
				l.step("copied")
				if err := l.awaitReady(ready); err != nil {
					return err
				}
				marked = true
				l.step("ready")
			}
			if err := l.send(kindMarked, nil, nil); err != nil {
				return err
			}
		case f.kind == kindEnd:
			if !marked {
				return errors.New("the old process ends before it has begun")
			}
			return nil
		default:
			return l.unexpected(f)
		}
	}
}

// awaitReady waits for the sink. The old process says nothing meanwhile, unless
// it gives up.
func (l *Link) awaitReady(ready <-chan error) error {
	told := make(chan error, 1)
	go func() {
		f, err := l.receive()
		if err == nil {
			err = l.unexpected(f)
		}
		told <- err
	}()
	select {
	case err := <-ready:
		_ = l.conn.SetReadDeadline(time.Unix(1, 0))
		late := <-told
		if err == nil && !errors.Is(late, os.ErrDeadlineExceeded) {
			err = late
		}
		if err == nil {
			err = l.ctx.Err()
		}
		_ = l.conn.SetReadDeadline(time.Time{})
		if l.ctx.Err() != nil {
			l.stop()
		}
		return err
	case err := <-told:
		return l.stopped(err, ready)
	}
}

// stopped is why nothing more comes: the sink's own error if it has one.
func (l *Link) stopped(err error, ready <-chan error) error {
	select {
	case failed := <-ready:
		if failed != nil {
			return failed
		}
	default:
	}
	if errors.Is(err, errGoesOn) {
		return err
	}
	return fmt.Errorf("the old process stops in the middle: %w", err)
}

var errGoesOn = errors.New("the old process goes on")

// unexpected is the error of a frame that should not come now.
func (l *Link) unexpected(f frame) error {
	CloseAll(f.fds)
	if f.kind == kindRefuse {
		return fmt.Errorf("%w: %s", errGoesOn, f.data)
	}
	return fmt.Errorf("the old process sends %v in the middle", f.kind)
}

// goneTime is how long an old process may take to be gone after its connection
// is.
const goneTime = 500 * time.Millisecond

// Gone tells whether err, of this link, is because the old process has died: then
// nobody goes on with the instance.
func (l *Link) Gone(err error) bool {
	broken := isBroken(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	return broken && !errors.Is(err, errGoesOn) && l.old.gone(goneTime)
}

// orphaned is nil if the old process is gone: it cannot go on, so we do.
func (l *Link) orphaned(err error) error {
	if l.old.gone(goneTime) {
		l.step("orphaned")
		return nil
	}
	return fmt.Errorf("%w: %w", errGoesOn, err)
}

// Start tells the old process that this one serves from now on. Without an
// error it does.
func (l *Link) Start() error {
	l.within(AgreeTime)
	if err := l.send(kindRunning, nil, nil); err != nil {
		return l.orphaned(err)
	}
	l.step("running")
	return nil
}

// AwaitClose waits until the old process has closed the connection, which it
// does when it has nothing more to say.
func (l *Link) AwaitClose(ctx context.Context) {
	_ = l.conn.SetDeadline(time.Time{})
	defer context.AfterFunc(ctx, l.stop)()
	_, _ = io.Copy(io.Discard, l.conn) // it may be gone
}

// Refuse tells the old process why this one does not take over.
func (l *Link) Refuse(err error) {
	_ = l.conn.SetDeadline(time.Now().Add(time.Second))
	_ = l.send(kindRefuse, []byte(err.Error()), nil) // it may be gone
}

// Close ends the connection.
func (l *Link) Close() {
	l.link.close()
	l.old.close()
}
