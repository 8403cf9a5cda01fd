package relay

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/recent"
	codec "github.com/ckpool/ckpool/internal/wire"
	"github.com/ckpool/ckpool/sharelog"
	"github.com/ckpool/ckpool/stratum"
)

const (
	// redirectsKept is how long an address is sent to the same pool, from half of it to all.
	redirectsKept = 48 * time.Hour
	// redirectsMost is how many addresses are kept, about.
	redirectsMost = 1 << 20
)

// redirector says which pool miners of an address are sent to.
type redirector struct {
	pools []string // host:port

	mu      sync.Mutex
	table   recent.Map[netip.Addr, string] // guarded by mu
	next    int                            // guarded by mu
	aged    time.Time                      // guarded by mu
	changed bool                           // guarded by mu: since it was saved
	moving  bool                           // guarded by mu: the table goes to another process
	fresh   []netip.Addr                   // guarded by mu: given a pool since the last part went there
}

func newRedirector(pools []string) *redirector {
	return &redirector{pools: pools, table: recent.New[netip.Addr, string](redirectsMost), aged: time.Now()}
}

// poolOf is where miners of an address are sent, "" nowhere. One that is not known is
// given a pool if new says so.
func (r *redirector) poolOf(a netip.Addr, isNew bool) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.aged) > redirectsKept/2 {
		r.table.Age()
		r.aged, r.changed = now, true
	}
	pool, known := r.table.Get(a)
	if known && !slices.Contains(r.pools, pool) { // which is not in the configuration any more
		known = false
	}
	switch {
	case known:
	case !isNew:
		return ""
	default:
		pool = r.pools[r.next%len(r.pools)]
		r.next++
		r.changed = true
		if r.moving {
			r.fresh = append(r.fresh, a)
		}
	}
	r.table.Put(a, pool)
	return pool
}

// redirects is the file of a redirector.
type redirects struct {
	Next  int                   `json:"next"`
	Aged  int64                 `json:"aged"` // unix seconds
	Pools map[netip.Addr]string `json:"pools"`
}

// LoadRedirects reads the file that SaveRedirects has written, if there is one and miners are
// redirected.
func (e *Edge) LoadRedirects(path string) error {
	r := e.redirect
	if r == nil {
		return nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var k redirects
	if err == nil {
		err = json.Unmarshal(text, &k)
	}
	if err != nil {
		return fmt.Errorf("redirects: %s: %w", path, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next, r.aged = max(k.Next, 0), time.Unix(k.Aged, 0)
	for a, pool := range k.Pools {
		r.table.Put(a, pool)
	}
	return nil
}

// redirectsPerRecord is how many addresses stand in one record.
const redirectsPerRecord = 50_000

// ExportRedirects gives send records of which address goes to which pool: of all at first,
// later of those that are new since, until StopRedirects.
func (e *Edge) ExportRedirects(first bool, send func(record []byte) error) error {
	r := e.redirect
	if r == nil {
		return nil
	}
	r.mu.Lock()
	k := redirectsRecord{next: r.next, aged: r.aged}
	if first {
		for a, pool := range r.table.All() {
			k.entries = append(k.entries, redirectRecord{a, pool})
		}
	}
	for _, a := range r.fresh {
		if pool, known := r.table.Get(a); known {
			k.entries = append(k.entries, redirectRecord{a, pool})
		}
	}
	r.moving, r.fresh = true, nil
	r.mu.Unlock()
	for all := k.entries; ; {
		n := min(len(all), redirectsPerRecord)
		k.entries, all = all[:n], all[n:]
		c := codec.Append(nil)
		c.Versioned(redirectsVersion, k.fields)
		if err := send(c.Written()); err != nil || len(all) == 0 {
			return err
		}
	}
}

// StopRedirects is for the end of an attempt to move.
func (e *Edge) StopRedirects() {
	if r := e.redirect; r != nil {
		r.mu.Lock()
		r.moving, r.fresh = false, nil
		r.mu.Unlock()
	}
}

// ImportRedirects takes a record of ExportRedirects.
func (e *Edge) ImportRedirects(record []byte) error {
	k, err := readRedirects(record)
	if r := e.redirect; r != nil && err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.next, r.aged, r.changed = k.next, k.aged, true
		for _, p := range k.entries {
			r.table.Put(p.addr, p.pool)
		}
	}
	return err
}

func readRedirects(record []byte) (k redirectsRecord, err error) {
	c := codec.Read(record)
	c.Versioned(redirectsVersion, k.fields)
	if err = c.Done(); err != nil {
		err = fmt.Errorf("redirects: %w", err)
	}
	return k, err
}

// SaveRedirects writes which address goes to which pool, if that has changed.
func (e *Edge) SaveRedirects(path string) error {
	r := e.redirect
	if r == nil {
		return nil
	}
	r.mu.Lock()
	k := redirects{Next: r.next, Aged: r.aged.Unix(), Pools: map[netip.Addr]string{}}
	changed := r.changed
	if changed {
		for a, pool := range r.table.All() {
			k.Pools[a] = pool
		}
	}
	r.changed = false
	r.mu.Unlock()
	if !changed {
		return nil
	}
	text, err := json.Marshal(k)
	if err == nil {
		err = sharelog.ReplaceFile(path, append(text, '\n'), false)
	}
	if err != nil {
		r.mu.Lock()
		r.changed = true
		r.mu.Unlock()
	}
	return err
}

// redirect sends a miner on who is known, or has shown that it mines, once.
func (h *EdgeHandler) redirect(slot netserver.Slot, m *edgeMiner, kind requestKind, accepted bool) {
	if m.redirected || !m.authorised {
		return
	}
	pool := h.edge.redirect.poolOf(h.loop.Remote(slot).Addr(), kind == submitting && accepted)
	if pool == "" {
		return
	}
	host, port, err := net.SplitHostPort(pool)
	if err != nil {
		return // the configuration has been checked
	}
	m.redirected = true
	h.out = stratum.AppendReconnect(h.out[:0], host, port)
	h.loop.Write(slot, h.out)
}
