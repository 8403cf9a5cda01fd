// Package keypair is a TLS certificate and its key in PEM files, read again
// when they change. It knows nothing of who shows the certificate.
package keypair

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/event"
)

// checkEvery is how often a handshake looks whether the files have changed.
const checkEvery = 5 * time.Second

// Pair is a certificate with its key. Any goroutine may call its methods.
type Pair struct {
	// immutable
	cert, key string
	events    event.Func

	current atomic.Pointer[tls.Certificate]
	checked atomic.Int64 // when, in nanoseconds since 1970

	mu   sync.Mutex
	seen [2]os.FileInfo // guarded by mu; of the files when they were last read
}

// same tells that a file has not changed; nil is one that is not there.
func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// Open reads a certificate, with the chain to its issuer if there is one, and
// its key. events is told of a new certificate read later, or that what is there
// then is not usable.
func Open(cert, key string, events event.Func) (*Pair, error) {
	p := &Pair{cert: cert, key: key, events: events}
	return p, p.Reload()
}

// Certificate is the pair last read, for tls.Config.GetCertificate. It looks at
// the files every few seconds; those that are not usable leave the pair as it
// was.
func (p *Pair) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	now := time.Now().UnixNano()
	last := p.checked.Load()
	if now-last >= int64(checkEvery) && p.checked.CompareAndSwap(last, now) {
		p.reloadChanged()
	}
	return p.current.Load(), nil
}

// Expires is when the certificate does.
func (p *Pair) Expires() time.Time { return p.current.Load().Leaf.NotAfter }

// Reload reads the files now. After an error the pair is as it was.
func (p *Pair) Reload() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = p.look()
	return p.load()
}

func (p *Pair) reloadChanged() {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.look()
	if same(seen[0], p.seen[0]) && same(seen[1], p.seen[1]) {
		return
	}
	p.seen = seen
	if err := p.load(); err != nil {
		p.events.Say(event.Warning, "Keeping the TLS certificate in use: "+err.Error())
	}
}

// look is for a caller that holds mu.
func (p *Pair) look() (files [2]os.FileInfo) {
	for i, path := range []string{p.cert, p.key} {
		if info, err := os.Stat(path); err == nil {
			files[i] = info
		}
	}
	return files
}

// load is for a caller that holds mu.
func (p *Pair) load() error {
	cert, err := os.ReadFile(p.cert)
	if err != nil {
		return unreadable("certificate", err)
	}
	key, err := os.ReadFile(p.key)
	if err != nil {
		return unreadable("key", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("TLS certificate %s with key %s: %w", p.cert, p.key, explain(err, key))
	}
	old := p.current.Swap(&pair)
	p.checked.Store(time.Now().UnixNano())
	if old != nil && !bytes.Equal(old.Certificate[0], pair.Certificate[0]) {
		p.events.Say(event.Notice, fmt.Sprintf("New TLS certificate in %s, valid until %s", p.cert, p.Expires().Format(time.DateOnly)))
	}
	return nil
}

func unreadable(what string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("TLS %s %s: %w", what, path.Path, path.Err)
	}
	return fmt.Errorf("TLS %s: %w", what, err)
}

// explain says what to do where the library does not.
func explain(err error, key []byte) error {
	if strings.Contains(string(key), "ENCRYPTED") {
		return errors.New("the key is encrypted: write it without its password, readable for this user alone")
	}
	return errors.New(strings.TrimPrefix(err.Error(), "tls: "))
}
