package operation

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// manager listen|hears|soon|silent: plays the service manager. hears takes the
// next message, which must match; soon skips others before it; silent waits for
// a moment in which none comes.
func serviceManager(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "manager listen, manager hears|soon REGEXP")
	w := worldOf(ts)
	if args[0] == "listen" {
		socket := filepath.Join(ts.Getenv("S"), "notify")
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
		ts.Check(err)
		w.manager = c
		ts.Setenv("NOTIFY_SOCKET", socket)
		return
	}
	if args[0] == "silent" {
		silence(ts, w.manager)
		return
	}
	want(ts, neg, args, 2, "manager hears|soon REGEXP")
	re := regexp.MustCompile("(?s)^" + args[1] + "$")
	ts.Check(w.manager.SetReadDeadline(time.Now().Add(patience)))
	for {
		b := make([]byte, 4096)
		n, err := w.manager.Read(b)
		if err != nil {
			ts.Fatalf("%s was never said: %v", args[1], err)
		}
		switch text := string(b[:n]); {
		case re.MatchString(text):
			return
		case args[0] == "hears":
			ts.Fatalf("said %q, not %s", text, args[1])
		}
	}
}

// silence reads until nothing comes for a while.
func silence(ts *testscript.TestScript, c *net.UnixConn) {
	const while = 400 * time.Millisecond
	end := time.Now().Add(patience)
	for {
		ts.Check(c.SetReadDeadline(time.Now().Add(while)))
		if _, err := c.Read(make([]byte, 4096)); errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("never silent")
		}
	}
}
