package main

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/control"
)

// openPTY returns both ends of a pseudo terminal.
func openPTY(t *testing.T) (keyboard, tty *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no pseudo terminals:", err)
		}
		t.Skip("no pseudo terminals:", err)
	}
	t.Cleanup(func() { keyboard.Close() })
	fd := int(keyboard.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return keyboard, tty
}

// A user types, corrects, recalls the line before and leaves; the terminal is
// as it was.
func TestTerminal(t *testing.T) {
	dir, err := os.MkdirTemp("", "ck")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	stop, err := fakePool(filepath.Join(dir, "ckpool"))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()

	keyboard, tty := openPTY(t)
	before, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	o := &options{client: control.Dial(dir, "ckpool", "listener"), name: "ckpool"}
	ended := make(chan error, 1)
	go func() { ended <- interact(tty, tty, "here> ", o.runLine) }()

	// The screen is read all the time, a full terminal stops its writer.
	screen := make(chan string, 100)
	go func() {
		for in := bufio.NewScanner(keyboard); in.Scan(); {
			screen <- in.Text()
		}
	}()
	expect := func(want string) {
		t.Helper()
		deadline := time.After(time.Minute)
		for {
			select {
			case line := <-screen:
				if strings.Contains(line, want) {
					return
				}
			case <-deadline:
				t.Fatalf("%q never appeared", want)
			}
		}
	}
	const (
		enter  = "\r"
		del    = "\x7f"
		up     = "\x1b[A"
		escape = "\x04" // control-D
	)
	keyboard.WriteString("pinx" + del + "g" + enter)
	expect("here> ")
	expect("pong")
	keyboard.WriteString("whoami" + enter)
	expect("ckpool")
	keyboard.WriteString(up + up + enter)
	expect("pong")
	// Words are put together as on the command line; what is wrong ends nothing.
	keyboard.WriteString("getuser alice  b" + enter)
	expect(`getuser alice b: no user {"user": "alice b"}`)
	keyboard.WriteString("getuser" + enter)
	expect("usage: getuser USER: argument is missing")
	keyboard.WriteString("nothing  like it" + enter)
	expect(`nothing  like it: unknown command, "ckpmsg help" lists all`)
	keyboard.WriteString("# a comment" + enter + enter + "users" + enter)
	expect("H/s 1m")
	keyboard.WriteString("help" + enter)
	expect("loglevel LEVEL  ")
	keyboard.WriteString(escape)
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("control-D does not end it")
	}
	after, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if *after != *before {
		t.Error("the terminal's settings are not restored")
	}
}
