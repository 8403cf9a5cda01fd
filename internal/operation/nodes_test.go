package operation

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/certificate"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/port"
	"github.com/ckpool/ckpool/internal/testkit/wait"
	"github.com/ckpool/ckpool/sharelog"
)

// The configurations of docs/nodes.md work together: a pool and a node, each with a bitcoin
// node, which both get the block of a miner of either. --check finds nothing wrong.
func TestNodesPage(t *testing.T) {
	t.Parallel()
	page := configurations(t, "../../docs/nodes.md")
	pair := certificate.New(t, "pool.example", 1)
	cert, err := x509.ParseCertificate(pair.TLS(t).Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ck") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	pair.Write(t, dir)
	if err := os.Mkdir(filepath.Join(dir, "s"), 0o700); err != nil {
		t.Fatal(err)
	}
	free := func() string {
		p, err := port.Free()
		if err != nil {
			t.Fatal(err)
		}
		return "127.0.0.1:" + p
	}
	links := free()
	at, nodes := map[string]string{}, map[string]*testkit.FakeNode{}
	command := func(name string, options ...string) *exec.Cmd {
		c := exec.Command(filepath.Join(programs, "ckpool"), append(options, "-n", name, "-s", filepath.Join(dir, "s", name))...)
		c.Dir = dir
		return c
	}
	start := func(name, up string, options ...string) {
		t.Helper()
		text, ok := page[name+".conf"]
		if !ok {
			t.Fatalf("no %s.conf on the page, but %d others", name, len(page))
		}
		at[name] = free()
		nodes[name] = testkit.StartFakeNode(t, fakenode.Config{Bits: 0x207fffff, Transactions: 3, User: "user", Password: "pass"})
		text = strings.NewReplacer(
			`{"url": "127.0.0.1:8332", "cookie": "~/.bitcoin/.cookie"}`, fmt.Sprintf(`{"url": %q, "auth": "user", "pass": "pass"}`, nodes[name].Addr()),
			"bc1q…", "bcrt1q7v96qwscwmmy7q5sjvw8rawgvxl0gamx6xlltt",
			"[::]:3444", links, "pool.example:3444", links, "[::]:3333", at[name],
			"2f0c5d1e3b4a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0", fmt.Sprintf("%x", sha256.Sum256(cert.RawSubjectPublicKeyInfo)),
		).Replace(text)
		more := fmt.Sprintf(`"logdir": %q,`, name)
		if name == "ckpool" {
			more += fmt.Sprintf(`"serverurl": %q, "mindiff": 1e-9, "startdiff": 1e-9, "maxdiff": 1e-9,`, at[name]) // each share is a block
		}
		if err := os.WriteFile(filepath.Join(dir, name+".conf"), []byte("{"+more+text[1:]), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := command(name, append(options, "--check")...).CombinedOutput(); err != nil {
			t.Errorf("check: %v\n%s", err, out)
		}
		c := command(name, options...)
		var out bytes.Buffer
		c.Stdout, c.Stderr = &out, &out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = c.Process.Signal(os.Interrupt)
			_ = c.Wait()
			if t.Failed() {
				t.Logf("%s\n%s", name, &out)
			}
			if name != "cknode" {
				return
			}
			if s, err := sharelog.ReadPoolStatus(filepath.Join(dir, name, "pool", "pool.status")); err != nil || s.AcceptedCount != 1 {
				t.Errorf("the node has counted %d shares, %v", s.AcceptedCount, err)
			}
		})
		if err := await(func() error {
			b, err := os.ReadFile(filepath.Join(dir, name, name+".log"))
			if err == nil && !strings.Contains(string(b), up) {
				err = fmt.Errorf("%s: %s", name, b)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	start("ckpool", "Listening on")
	start("cknode", "serves the miners", "-N")
	for i, name := range []string{"ckpool", "cknode"} {
		m, err := dial(at[name], "alice."+name, "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.close)
		reject := "none yet"
		for try := 0; try < 100 && reject != "" && err == nil; try++ {
			reject, err = m.submit("")
		}
		if reject != "" || err != nil {
			t.Fatalf("%s: %q, %v", name, reject, err)
		}
		if err := await(func() error {
			var first [][]byte
			for name, n := range nodes {
				list := n.Submissions()
				if len(list) <= i {
					return fmt.Errorf("the node of %s has got %d blocks", name, len(list))
				}
				var at int
				for at = range list {
					if i == 0 || !bytes.Equal(list[at].Raw, list[0].Raw) {
						break
					}
				}
				first = append(first, list[at].Raw)
			}
			if !bytes.Equal(first[0], first[1]) {
				return fmt.Errorf("the nodes have got\n%x\nand\n%x", first[0], first[1])
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	for command, want := range map[string]string{"users": `"user":"alice"`, "nodes": nodes["cknode"].Addr(), "list": `"active":true`} {
		reply, err := wait.Reply(t.Context(), control.Dial(filepath.Join(dir, "s"), "cknode", "listener"), command)
		if err != nil || !strings.Contains(strings.ReplaceAll(reply, " ", ""), want) {
			t.Errorf("%s: %s, %v; want %s", command, reply, err, want)
		}
	}
}
