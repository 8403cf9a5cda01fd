package authority

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/sockdir"
)

// Place is where ckdb listens.
type Place struct {
	// Dir is the directory of its socket, or the one above. Without it the socket
	// is looked for where instances usually are, and must be of this user's, or of
	// root's: in /tmp anybody may make such a directory.
	Dir  string
	Name string // of the instance of ckdb
	// Through makes a connection to one elsewhere, instead; Who is it in words.
	Through func(ctx context.Context) (*net.UnixConn, error)
	Who     string // "" is ckdb
}

func (p Place) who() string { return cmp.Or(p.Who, "ckdb") }

// path is looked for anew each time: ckdb may come later than the pool.
func (p Place) path() string { return sockdir.Find(p.Dir, p.Name, Socket) }

// Answers tells whether there is a ckdb that answers, though it may be that its
// database is away.
func (p Place) Answers(ctx context.Context) bool {
	c, theirs, err := p.dial(ctx, hello{Version: version})
	if err != nil {
		return theirs.Version == version
	}
	c.Close()
	return true
}

// errOther: not what the pool can talk to; it will not become so by waiting.
var errOther = errors.New("cannot be asked")

// Connect connects, and says nothing: for who passes on what others say.
func (p Place) Connect(ctx context.Context) (*net.UnixConn, error) {
	if p.Through != nil {
		return p.Through(ctx)
	}
	var dialer net.Dialer
	dialed, err := dialer.DialContext(ctx, "unix", p.path())
	if err != nil {
		return nil, err
	}
	c := dialed.(*net.UnixConn)
	if err := p.trust(c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// dial connects and exchanges hellos.
func (p Place) dial(ctx context.Context, mine hello) (*net.UnixConn, hello, error) {
	var theirs hello
	ctx, cancel := context.WithTimeout(ctx, helloTime)
	defer cancel()
	c, err := p.Connect(ctx)
	if err != nil {
		return nil, theirs, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	theirs, err = greet(c, mine)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = errors.New("it does not answer")
		}
		return nil, theirs, err
	}
	return c, theirs, nil
}

func greet(c *net.UnixConn, mine hello) (theirs hello, err error) {
	text, err := json.Marshal(mine)
	if err == nil {
		err = control.WriteFrame(c, append([]byte(Command+" "), text...))
	}
	if err != nil {
		return theirs, err
	}
	frame, err := control.ReadFrame(c, maxFrame)
	if err != nil {
		return theirs, err
	}
	switch err := json.Unmarshal(frame, &theirs); {
	case err != nil || theirs.Version == 0:
		return theirs, fmt.Errorf("%w: what listens there is no ckdb: it answers %.60q", errOther, frame)
	case theirs.Refused != "":
		return theirs, fmt.Errorf("%w: %s", errOther, theirs.Refused)
	case theirs.Version != version:
		return theirs, otherVersion("ckdb", theirs)
	}
	return theirs, nil
}

// otherVersion is why nothing is said to a program of another release.
func otherVersion(who string, h hello) error {
	age := "a later"
	if h.Version < version {
		age = "an earlier"
	}
	return fmt.Errorf("%w: %s (%.60s) is of %s release: it speaks version %d, this program %d; install both of one release",
		errOther, who, h.Program, age, h.Version, version)
}

// trust refuses a socket that a stranger may have made.
func (p Place) trust(c *net.UnixConn) error {
	if p.Dir != "" {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	if ctlErr := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); ctlErr != nil {
		err = ctlErr
	}
	if err == nil && peer.Uid != 0 && int(peer.Uid) != os.Getuid() {
		err = fmt.Errorf("%w: %s is of user id %d: name its directory with -S if it is yours", errOther, p.path(), peer.Uid)
	}
	return err
}
