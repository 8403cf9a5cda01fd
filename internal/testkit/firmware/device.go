package firmware

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
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

	conn   net.Conn
	lines  chan []byte // from the reading goroutine; closed at the end
	readBy sync.WaitGroup
	quit   chan struct{}
	closed sync.Once

	// owned by the goroutine that uses the device
	nextID      int
	pending     map[string]*request // requests without a reply, by id as sent
	outstanding int                 // submits among them
	lastLine    time.Time
	lastSent    time.Time
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

// request is one message that waits for its reply.
type request struct {
	message message
	sent    time.Time
	share   share
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
	if opts.KeepAlive == 0 {
		opts.KeepAlive = f.traits.keepAlive
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	now := time.Now()
	d := &Device{
		family: f, traits: f.traits, opts: opts, worker: worker, addr: addr,
		conn: conn, lines: make(chan []byte, 256), quit: make(chan struct{}),
		nextID: f.traits.firstID, pending: map[string]*request{},
		lastLine: now, lastSent: now, difficulty: 1, announced: 1,
		stats: Stats{Rejects: map[string]int{}, Difficulty: 1},
	}
	if limit := f.traits.workerLimit; limit > 0 && len(d.worker) > limit {
		d.lose("worker name of %d bytes is cut to %d", len(d.worker), limit)
		d.worker = d.worker[:limit]
	}
	if limit := f.traits.passwordLimit; limit > 0 && len(d.opts.Password) > limit {
		d.lose("password of %d bytes is cut to %d", len(d.opts.Password), limit)
		d.opts.Password = d.opts.Password[:limit]
	}
	if f.traits.unasked {
		d.mask = 0x1fffe000
	}
	d.readBy.Go(d.read)
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
func (d *Device) Close() {
	d.closed.Do(func() {
		close(d.quit)
		d.conn.Close()
	})
	d.readBy.Wait()
}

// Stats is what happened so far.
func (d *Device) Stats() Stats { return d.stats }

// Family is what the device is.
func (d *Device) Family() Family { return d.family }

// SessionID is the id the pool gave in its subscribe reply.
func (d *Device) SessionID() string { return d.sessionID }

// Extranonce1 is what the pool assigned.
func (d *Device) Extranonce1() []byte { return d.extranonce1 }

// VersionMask is the version bits the device rolls.
func (d *Device) VersionMask() uint32 { return d.mask }

// read passes lines on until the connection ends.
func (d *Device) read() {
	defer close(d.lines)
	r := bufio.NewReader(d.conn)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		select {
		case d.lines <- line:
		case <-d.quit:
			return
		}
	}
}

// login sends the family's messages and waits where it does.
func (d *Device) login(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	for _, s := range d.traits.login {
		ids, err := d.sendStep(s.send)
		if err != nil {
			return err
		}
		for s.wait && d.waits(ids) {
			if err := d.next(ctx); err != nil {
				return fmt.Errorf("waiting for the reply to %s: %w", s.send, err)
			}
		}
	}
	return nil
}

func (d *Device) waits(ids []string) bool {
	for _, id := range ids {
		if d.pending[id] != nil {
			return true
		}
	}
	return false
}

// sendStep sends one message of the login, or none where the device has no use
// for it, and returns the ids of what was sent.
func (d *Device) sendStep(m message) ([]string, error) {
	switch m {
	case configure:
		if d.traits.configureID != 0 {
			id := d.nextID
			d.nextID = d.traits.configureID
			defer func() { d.nextID = id }()
		}
		extensions := d.traits.extensions
		if strings.Contains(extensions, "%") {
			// Below 0 nothing is suggested; 0 is the least of minima.
			extensions = fmt.Sprintf(extensions, max(0, d.opts.Suggest))
		}
		return d.send(m, "mining.configure", extensions)
	case subscribe:
		params := []any{}
		if d.family.UserAgent != "" {
			params = append(params, d.family.UserAgent)
			params = append(params, d.traits.subscribe...)
			if d.opts.Session != "" && len(params) == 1 {
				params = append(params, d.opts.Session)
			}
		}
		return d.send(m, "mining.subscribe", list(params...))
	case authorize:
		method := "mining.authorize"
		if d.traits.loginMethod != "" {
			method = d.traits.loginMethod
		}
		var ids []string
		for i := range max(1, d.traits.logins) {
			id, err := d.send(m, method, list(d.workerName(i), d.opts.Password))
			if err != nil {
				return nil, err
			}
			ids = append(ids, id...)
		}
		return ids, nil
	case suggest:
		if d.opts.Suggest <= 0 {
			return nil, nil
		}
		return d.send(m, "mining.suggest_difficulty", fmt.Sprintf("[%.10g]", d.opts.Suggest))
	case subscribeExtranonce:
		return d.send(m, "mining.extranonce.subscribe", "[]")
	}
	return nil, fmt.Errorf("no such step: %s", m)
}

// workerName is the name of the i-th worker on the connection.
func (d *Device) workerName(i int) string {
	if i == 0 {
		return d.worker
	}
	return fmt.Sprintf("%s_%d", d.worker, i+1)
}

// list is a JSON array.
func list(values ...any) string {
	if values == nil {
		values = []any{}
	}
	b, err := json.Marshal(values)
	if err != nil {
		panic("firmware: strings and numbers can always be marshalled: " + err.Error())
	}
	return string(b)
}

// send writes one request and remembers it.
func (d *Device) send(m message, method, params string) ([]string, error) {
	id := fmt.Sprint(d.nextID)
	if d.traits.stringIDs {
		id = fmt.Sprintf(`"%s-%d"`, m, d.nextID)
	}
	d.nextID++
	d.pending[id] = &request{message: m, sent: time.Now()}
	var line string
	switch d.traits.form {
	case spaced:
		line = fmt.Sprintf("{\"id\": %s, \"method\": \"%s\", \"params\": %s}\n", id, method, params)
	case versioned:
		line = fmt.Sprintf("{\"jsonrpc\": \"2.0\", \"id\": %s, \"method\": \"%s\", \"params\": %s}\n", id, method, params)
	case paramsFirst:
		line = fmt.Sprintf("{\"params\": %s, \"id\": %s, \"method\": \"%s\"}\n", params, id, method)
	case compact:
		line = fmt.Sprintf("{\"id\":%s,\"method\":\"%s\",\"params\":%s}\n", id, method, params)
	}
	return []string{id}, d.write(line)
}

func (d *Device) write(line string) error {
	d.lastSent = time.Now()
	if err := d.conn.SetWriteDeadline(d.lastSent.Add(10 * time.Second)); err != nil {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	if _, err := io.WriteString(d.conn, line); err != nil {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return nil
}

// next handles the next line.
func (d *Device) next(ctx context.Context) error {
	select {
	case line, open := <-d.lines:
		if !open {
			return ErrClosed
		}
		return d.handle(line)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lose notes where the real device would lose shares.
func (d *Device) lose(format string, args ...any) {
	if len(d.stats.Losses) < maxLosses {
		d.stats.Losses = append(d.stats.Losses, fmt.Sprintf(format, args...))
	}
}
