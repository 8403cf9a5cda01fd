package keypair

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/testkit/certificate"
)

// events are what a pair says.
type events []string

func (e *events) add(told event.Event) {
	*e = append(*e, fmt.Sprintf("%v %s", told.Level == event.Warning, told.Text))
}

func serial(t *testing.T, p *Pair) int64 {
	t.Helper()
	c, err := p.Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf.SerialNumber.Int64()
}

func TestRotation(t *testing.T) {
	first, second, third := certificate.New(t, "a", 1), certificate.New(t, "a", 2), certificate.New(t, "a", 3)
	dir := t.TempDir()
	cert, key := first.Write(t, dir)
	synctest.Test(t, func(t *testing.T) {
		var said events
		p, err := Open(cert, key, said.add)
		if err != nil {
			t.Fatal(err)
		}
		expect := func(want int64, about ...string) {
			t.Helper()
			for range 3 {
				if got := serial(t, p); got != want {
					t.Fatalf("certificate %d, want %d", got, want)
				}
			}
			if len(said) != len(about) {
				t.Fatalf("said %q, want %q", said, about)
			}
			for i := range about {
				if !strings.HasPrefix(said[i], about[i]) {
					t.Errorf("said %q, want %q", said[i], about[i])
				}
			}
			said = nil
		}
		expect(1)
		second.Write(t, dir)
		expect(1) // not looked at so soon
		time.Sleep(checkEvery)
		expect(2, "false New TLS certificate in "+cert+", valid until 20")

		// Half a pair, as between the two files of a renewal, is told once.
		if err := os.WriteFile(cert, third.Cert, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(checkEvery)
		expect(2, "true Keeping the TLS certificate in use: TLS certificate "+cert+" with key "+key+": private key does not match public key")
		time.Sleep(checkEvery)
		expect(2)
		third.Write(t, dir)
		time.Sleep(checkEvery)
		expect(3, "false New TLS certificate")

		if err := os.Remove(key); err != nil {
			t.Fatal(err)
		}
		time.Sleep(checkEvery)
		expect(3, "true Keeping the TLS certificate in use: TLS key "+key+": no such file")
		time.Sleep(checkEvery)
		expect(3)
		first.Write(t, dir)
		expect(3)
		if err := p.Reload(); err != nil {
			t.Fatal(err)
		}
		expect(1, "false New TLS certificate")
		first.Write(t, dir) // the same
		time.Sleep(checkEvery)
		expect(1)
	})
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate.New(t, "a", 1).Write(t, dir)
	other := t.TempDir()
	_, otherKey := certificate.New(t, "b", 2).Write(t, other)
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	empty := file("empty.pem", "")
	locked := file("locked.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
	for _, v := range []struct{ name, cert, key, want string }{
		{"no certificate", filepath.Join(dir, "none.pem"), key, "TLS certificate " + filepath.Join(dir, "none.pem") + ": no such file or directory"},
		{"no key", cert, filepath.Join(dir, "none.pem"), "TLS key " + filepath.Join(dir, "none.pem") + ": no such file or directory"},
		{"a directory", dir, key, "TLS certificate " + dir + ": is a directory"},
		{"swapped", key, cert, "PEM inputs may have been switched"},
		{"another's key", cert, otherKey, "private key does not match public key"},
		{"empty", empty, key, "failed to find any PEM data in certificate input"},
		{"encrypted", cert, locked, "the key is encrypted: write it without its password"},
	} {
		t.Run(v.name, func(t *testing.T) {
			_, err := Open(v.cert, v.key, nil)
			if err == nil || !strings.Contains(err.Error(), v.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want %q in one line", err, v.want)
			}
		})
	}
	p, err := Open(cert, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Until(p.Expires()); d < 89*24*time.Hour || d > 90*24*time.Hour {
		t.Errorf("expires in %v", d)
	}
}
