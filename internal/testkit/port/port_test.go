package port

import (
	"net"
	"os/exec"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// A port is given to one test only, also while nobody listens on it.
func TestReserved(t *testing.T) {
	free, err := Free()
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(free)
	if err != nil {
		t.Fatal(err)
	}
	if err := reserve(port); err != unix.EADDRINUSE {
		t.Errorf("a port that was given: %v", err)
	}
}

// Nobody is given a port that somebody else listens on, on one address or all.
func TestProbe(t *testing.T) {
	for _, on := range []string{"127.0.0.1:0", ":0"} {
		l, err := net.Listen("tcp", on)
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		if err := probe(port); err != unix.EADDRINUSE {
			t.Errorf("somebody listens on %s: %v", on, err)
		}
		l.Close()
		if err := probe(port); err != nil {
			t.Errorf("nobody listens any more on %s: %v", on, err)
		}
	}
}

// A program can listen on its port at once, whatever other tests start meanwhile.
func TestFreeBesideChildren(t *testing.T) {
	stop := make(chan struct{})
	var children sync.WaitGroup
	for range 4 {
		children.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					exec.Command("true").Run()
				}
			}
		})
	}
	defer children.Wait()
	defer close(stop)
	for range 200 {
		free, err := Free()
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:"+free)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
}
