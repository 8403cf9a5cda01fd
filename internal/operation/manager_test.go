package operation

import (
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// manager listen|hears|soon|silent: plays the service manager. hears takes the
// next message, which must match, and passes over those that tell a status, of
// which there is one every ten seconds; soon skips others before it; silent waits
// for a moment in which none comes.
func serviceManager(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "manager listen, manager hears|soon REGEXP")
	w := worldOf(ts)
	if args[0] == "listen" {
		socket := filepath.Join(ts.Getenv("S"), "notify")
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
		ts.Check(err)
		w.manager, w.said = c, readAll(c)
		ts.Setenv("NOTIFY_SOCKET", socket)
		return
	}
	if args[0] == "silent" {
		silence(ts, w.said)
		return
	}
	want(ts, neg, args, 2, "manager hears|soon REGEXP")
	re := regexp.MustCompile("(?s)^" + args[1] + "$")
	late := time.After(patience)
	for {
		select {
		case text := <-w.said:
			switch {
			case re.MatchString(text):
				return
			case args[0] == "hears" && !strings.HasPrefix(text, "STATUS="):
				ts.Fatalf("said %q, not %s", text, args[1])
			}
		case <-late:
			ts.Fatalf("%s was never said", args[1])
		}
	}
}

// readAll takes what is said at once, as a service manager does: the socket has room
// for few messages, and who finds none waits for a second and says no more of it.
func readAll(c *net.UnixConn) <-chan string {
	const room = 10_000
	said := make(chan string, room)
	go func() {
		for b := make([]byte, 4096); ; {
			n, err := c.Read(b)
			if err != nil {
				return // it is closed at the end
			}
			said <- string(b[:n])
		}
	}()
	return said
}

// silence waits until nothing comes for a while.
func silence(ts *testscript.TestScript, said <-chan string) {
	const while = 400 * time.Millisecond
	late := time.After(patience)
	for {
		select {
		case <-said:
		case <-time.After(while):
			return
		case <-late:
			ts.Fatalf("never silent")
		}
	}
}
