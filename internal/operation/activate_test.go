package operation

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A pool takes the sockets a service manager has opened: who connected before it
// runs is served, and the manager keeps the port open after it.
func TestSocketActivation(t *testing.T) {
	l, unwanted := listenTCP(t), listenTCP(t)
	other := freeAddrs(t, "127.0.0.1")[0]

	dir, err := os.MkdirTemp("", "ck")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	conf := `{"btcd": [{"url": "127.0.0.1:1", "auth": "a", "pass": "b"}], "zmqblock": [],
		"btcaddress": "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "serverurl": ["` + l.Addr().String() + `", "` + other + `"]}`
	if err := os.WriteFile(filepath.Join(dir, "ckpool.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	early, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()

	// The shell gives the program its own process id, as the manager does.
	c := exec.Command("sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=2 exec "$0" -s "$1"`, filepath.Join(programs, "ckpool"), filepath.Join(dir, "s"))
	c.Dir = dir
	for _, k := range []net.Listener{l, unwanted} {
		f, err := k.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		c.ExtraFiles = append(c.ExtraFiles, f)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	defer c.Process.Kill()

	// What it must not take as its own is closed by it: only the test has it then.
	log := filepath.Join(dir, "logs", "ckpool.log")
	for _, text := range []string{
		"Inherited server socket 0 url " + l.Addr().String(),
		"Handed over socket url " + unwanted.Addr().String() + " does not match config",
		"Listening on " + l.Addr().String(), "Listening on " + other,
	} {
		if err := await(func() error {
			b, err := os.ReadFile(log)
			if err == nil && !strings.Contains(string(b), text) {
				err = &missingText{text, string(b)}
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	// There is no node: a subscribe waits, a line that is none is answered.
	if _, err := early.Write([]byte(strings.Repeat("x", 9000) + "\n")); err != nil {
		t.Fatal(err)
	}
	if err := await(func() error {
		out, err := exec.Command(filepath.Join(programs, "ckpmsg"), "-s", dir, "-n", "s", "--json", "clients").Output()
		if err == nil && strings.Contains(string(out), `"clients": []`) {
			out, err = exec.Command(filepath.Join(programs, "ckpmsg"), "-s", dir, "-n", "s", "--json", "drops").Output()
			if err == nil && !strings.Contains(string(out), `"line too long": 1`) {
				err = &missingText{"line too long", string(out)}
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	c.Process.Signal(os.Interrupt)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	late, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Error("the port is closed with the pool:", err)
	} else {
		late.Close()
	}
}

// listenTCP is a plain TCP socket, as systemd makes them.
func listenTCP(t *testing.T) net.Listener {
	t.Helper()
	var c net.ListenConfig
	c.SetMultipathTCP(false)
	l, err := c.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

type missingText struct{ want, got string }

func (m *missingText) Error() string { return m.want + " is missing in: " + m.got }
