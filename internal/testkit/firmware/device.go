package firmware

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Errors of Dial and Mine that a test may want to tell apart.
var (
	ErrRefused   = errors.New("authorize refused")
	ErrClosed    = errors.New("connection closed by the pool")
	ErrReconnect = errors.New("the pool asked to reconnect")
	ErrGaveUp    = errors.New("the firmware gives up")
)

// Lost is the error of a login that failed because of what the device could not
// take.
type Lost struct {
	Losses []string
	Err    error
}

func (l *Lost) Error() string { return strings.Join(l.Losses, "; ") + ": " + l.Err.Error() }
func (l *Lost) Unwrap() error { return l.Err }

// Device is one connected miner. Only its goroutine may use it, but for Close.
type Device struct {
	// immutable
	family Family
	traits traits
	opts   Options
	worker string
	addr   string
	link   *link

	// owned by the goroutine that uses the device
	outstanding int // submits without a reply
	lastLine    time.Time
	afterDiff   bool // the last line was set_difficulty

	subscribed  bool
	authorized  int // workers
	extranonce1 []byte
	nonce2Size  int
	sessionID   string
	mask        uint32 // version bits to roll now
	difficulty  float64
	announced   float64 // last difficulty received
	recent      []recentJob
	job         *job
	search      search
	lastBlock   time.Time
	nextShare   time.Time
	hashedSince time.Time // for HashRate
	hashedBase  uint64

	stats Stats
}

// dialTimeout bounds the wait for each reply of the login.
const dialTimeout = 30 * time.Second

// Dial connects to a pool and logs in as worker in the way of the family. It
// returns when the firmware would begin to mine.
func (f Family) Dial(ctx context.Context, addr, worker string, opts Options) (*Device, error) {
	if opts.Password == "" {
		opts.Password = "x"
	}
	if opts.Suggest == 0 {
		opts.Suggest = f.traits.suggest
	}
	if opts.Window == 0 {
		opts.Window = 64
	}
	if opts.KeepAlive == 0 || f.traits.keepAlive == 0 {
		opts.KeepAlive = f.traits.keepAlive
	}
	if opts.Dial == nil {
		opts.Dial = new(net.Dialer).DialContext
	}
	conn, err := opts.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	d := &Device{
		family: f, traits: f.traits, opts: opts, worker: worker, addr: addr,
		link: newLink(conn, &f.traits), lastLine: time.Now(), difficulty: 1, announced: 1,
		stats: Stats{Rejects: map[string]int{}, Difficulty: 1},
	}
	if limit := f.traits.workerLimit; limit > 0 && len(d.worker) > limit {
		d.stats.lose("worker name of %d bytes is cut to %d", len(d.worker), limit)
		d.worker = d.worker[:limit]
	}
	if limit := f.traits.passwordLimit; limit > 0 && len(d.opts.Password) > limit {
		d.stats.lose("password of %d bytes is cut to %d", len(d.opts.Password), limit)
		d.opts.Password = d.opts.Password[:limit]
	}
	if f.traits.unasked {
		d.mask = 0x1fffe000
	}
	if err := d.login(ctx); err != nil {
		d.Close()
		if len(d.stats.Losses) > 0 {
			err = &Lost{Losses: d.stats.Losses, Err: err}
		}
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	return d, nil
}

// Close cuts the connection and waits for the device's goroutine.
func (d *Device) Close() { d.link.close() }

// Stats is what happened so far.
func (d *Device) Stats() Stats { return d.stats }

// Session is what the pool gave the device.
type Session struct {
	ID          string
	Extranonce1 []byte
	VersionMask uint32 // 0 without version rolling
}

// Session is what the pool has given so far.
func (d *Device) Session() Session { return Session{d.sessionID, d.extranonce1, d.mask} }

// login sends the family's messages and waits where it does.
func (d *Device) login(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	for _, s := range d.traits.login {
		ids, err := d.sendStep(s.send)
		if err != nil {
			return err
		}
		for s.wait && d.link.waits(ids) {
			if err := d.next(ctx); err != nil {
				return fmt.Errorf("waiting for the reply to %s: %w", s.send, err)
			}
		}
	}
	return nil
}

// sendStep sends one message of the login, or none where the device has no use
// for it, and returns the ids of what was sent.
func (d *Device) sendStep(m message) (ids []string, err error) {
	send := func(method, params string) {
		if err == nil {
			var id string
			id, err = d.link.send(m, method, params)
			ids = append(ids, id)
		}
	}
	switch m {
	case configure:
		extensions := d.traits.extensions
		if strings.Contains(extensions, "%") {
			// Below 0 nothing is suggested; 0 is the least of minima.
			extensions = fmt.Sprintf(extensions, max(0, d.opts.Suggest))
		}
		usual := d.link.nextID
		if d.traits.configureID != 0 {
			d.link.nextID = d.traits.configureID
		}
		send("mining.configure", extensions)
		if d.traits.configureID != 0 {
			d.link.nextID = usual
		}
	case subscribe:
		params := []any{}
		if d.family.UserAgent != "" {
			params = append(params, d.family.UserAgent)
			params = append(params, d.traits.subscribe...)
			if d.opts.Session != "" && len(params) == 1 {
				params = append(params, d.opts.Session)
			}
		}
		send("mining.subscribe", list(params...))
	case authorize:
		method := "mining.authorize"
		if d.traits.loginMethod != "" {
			method = d.traits.loginMethod
		}
		for i := range max(1, d.traits.logins) {
			send(method, list(d.name(i), d.opts.Password))
		}
	case suggest:
		if d.opts.Suggest > 0 {
			send("mining.suggest_difficulty", fmt.Sprintf("[%.10g]", d.opts.Suggest))
		}
	case subscribeExtranonce:
		send("mining.extranonce.subscribe", "[]")
	}
	return ids, err
}

// name is that of the i-th worker on the connection.
func (d *Device) name(i int) string {
	if i == 0 {
		return d.worker
	}
	return fmt.Sprintf("%s_%d", d.worker, i+1)
}

// next handles the next line.
func (d *Device) next(ctx context.Context) error {
	line, err := d.link.receive(ctx)
	if err != nil {
		return err
	}
	return d.handle(line)
}
