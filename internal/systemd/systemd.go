// Package systemd speaks to the service manager: it tells it how the program is
// doing, and takes the sockets it passes on. It knows the protocol of sd_notify
// and of socket activation, not what the program does.
package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sendTime bounds how long a message may wait for a manager that does not read.
const sendTime = time.Second

// Notifier tells the service manager. A nil Notifier tells nobody.
type Notifier struct {
	conn *net.UnixConn
}

// NewNotifier connects to the socket $NOTIFY_SOCKET names; nil for "". A name
// that begins with '@' is an abstract one.
func NewNotifier(socket string) (*Notifier, error) {
	if socket == "" {
		return nil, nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("service manager: %w", err)
	}
	return &Notifier{conn}, nil
}

// Close ends the connection.
func (n *Notifier) Close() {
	if n != nil {
		n.conn.Close()
	}
}

// Ready says that the program has started, or has reloaded.
func (n *Notifier) Ready(status string) error { return n.send("READY=1", "STATUS="+status) }

// Reloading says that the configuration is being read again; Ready ends it.
func (n *Notifier) Reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("service manager: %w", err)
	}
	return n.send("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(now.Nano()/1000, 10))
}

// Stopping says that the program is about to end.
func (n *Notifier) Stopping() error { return n.send("STOPPING=1") }

// MainPID says that another process is the service from now on.
func (n *Notifier) MainPID(pid int) error { return n.send("MAINPID=" + strconv.Itoa(pid)) }

// Status says in a line what the program does.
func (n *Notifier) Status(text string) error { return n.send("STATUS=" + text) }

// Alive keeps the watchdog quiet.
func (n *Notifier) Alive() error { return n.send("WATCHDOG=1") }

// send sends assignments as one message.
func (n *Notifier) send(assignments ...string) error {
	if n == nil {
		return nil
	}
	for i, a := range assignments {
		assignments[i] = strings.ReplaceAll(a, "\n", " ")
	}
	err := n.conn.SetWriteDeadline(time.Now().Add(sendTime))
	if err == nil {
		_, err = n.conn.Write([]byte(strings.Join(assignments, "\n")))
	}
	if err != nil {
		return fmt.Errorf("service manager: %w", err)
	}
	return nil
}

// Watchdog is how often the manager wants to hear from the program, of
// $WATCHDOG_USEC and $WATCHDOG_PID; 0 if it does not.
func Watchdog(usec, pid string) (time.Duration, error) {
	if usec == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0, nil
	}
	n, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("service manager: WATCHDOG_USEC is %q", usec)
	}
	return time.Duration(n) * time.Microsecond, nil
}

// Sockets are the ones passed on, of $LISTEN_FDS and $LISTEN_PID. They are
// closed on exec from now on.
func Sockets(fds, pid string) ([]*os.File, error) {
	if fds == "" || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	const first, most = 3, 1024
	n, err := strconv.Atoi(fds)
	if err != nil || n < 0 || n > most {
		return nil, fmt.Errorf("service manager: LISTEN_FDS is %q", fds)
	}
	var files []*os.File
	for fd := first; fd < first+n; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, errors.Join(fmt.Errorf("service manager: descriptor %d of LISTEN_FDS=%s: %w", fd, fds, err), closeAll(files))
		}
		files = append(files, os.NewFile(uintptr(fd), "LISTEN_FD_"+strconv.Itoa(fd)))
	}
	return files, nil
}

func closeAll(files []*os.File) (err error) {
	for _, f := range files {
		err = errors.Join(err, f.Close())
	}
	return err
}
