package forward

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"
)

// namespaceDialer dials from a network namespace.
type namespaceDialer string

func (n namespaceDialer) Dial(network, address string) (net.Conn, error) {
	type result struct {
		net.Conn
		error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and the thread ends with the goroutine
		f, err := os.Open("/run/netns/" + string(n))
		if err == nil {
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
			f.Close()
		}
		if err != nil {
			done <- result{nil, err}
			return
		}
		// The dialer makes its socket in this goroutine, as the address is no name.
		c, err := (&net.Dialer{Timeout: 2 * time.Second}).Dial(network, address)
		done <- result{c, err}
	}()
	r := <-done
	return r.Conn, r.error
}

// Two sites, each in a network namespace, and the link between them goes silent for a
// while, as a network does that drops packets: neither end is told.
func TestSites(t *testing.T) {
	site := fmt.Sprintf("fw%d", os.Getpid())
	ip := func(args string) error {
		out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %s: %w: %s", args, err, out)
		}
		return nil
	}
	if err := ip("netns add " + site); err != nil {
		t.Skip("network namespaces cannot be made here: ", err)
	}
	t.Cleanup(func() { ip("netns del " + site) })
	subnet := fmt.Sprintf("10.213.%d.", os.Getpid()%250)
	for _, args := range []string{
		"link add " + site + "a type veth peer name " + site + "b netns " + site,
		"addr add " + subnet + "1/30 dev " + site + "a", "link set " + site + "a up",
		"-n " + site + " addr add " + subnet + "2/30 dev " + site + "b", "-n " + site + " link set " + site + "b up",
	} {
		if err := ip(args); err != nil {
			t.Skip("network namespaces cannot be used here: ", err)
		}
	}
	t.Cleanup(func() { ip("link del " + site + "a") })

	b, d, p := startBroker(t), openDatabase(t), startPool(t, 1)
	b.kill()
	_, port, _ := net.SplitHostPort(b.address)
	b.address = subnet + "1:" + port // of the site with the database
	b.start()
	d.receive(b.url())
	c, err := Connect(b.url(), "", "forwarder", d.log.tell, nats.SetCustomDialer(namespaceDialer(site)))
	if err != nil {
		t.Fatal(err)
	}
	f := &Forwarder{Dir: p.dir, Reader: reader, Conn: c, Events: d.log.tell}
	run(t, c, f.Run)
	mining, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for mining.Err() == nil {
			p.mineFor(100*time.Millisecond, 3000)
		}
	}()
	until(t, "shares", func() bool { return d.stored(p).Accepted.Count > 100 })
	if err := ip("link set " + site + "a down"); err != nil {
		t.Fatal(err)
	}
	until(t, "trouble", func() bool { return f.Progress().Trouble != "" })
	if err := ip("link set " + site + "a up"); err != nil {
		t.Fatal(err)
	}
	<-time.After(time.Second)
	cancel()
	<-done
	d.complete(p)
}
