package otherpool

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// conn is one connection.
type conn struct {
	net.Conn
	pool   *Pool
	number int

	// guarded by the pool's mu
	extranonce1    string // hexadecimal
	extranonce2Len int
	mask           uint32
	ready          bool
	jobs           map[string][]job // given, by id, the newest last
	names          map[string]bool  // authorized

	// owned by the goroutine of the connection
	shares int
	held   []string // answers, with Config.Reverse

	// What is to be sent: a goroutine of its own writes, so that a client that writes
	// before it reads is no deadlock.
	sending sync.Mutex
	out     []string // guarded by sending
	more    chan struct{}
	ended   chan struct{}
}

func (p *Pool) connection(nc net.Conn) {
	n := int(p.Connections.Add(1)) - 1
	config := p.options()
	if config.Wrap != nil {
		nc = config.Wrap(nc)
	}
	c := &conn{Conn: nc, pool: p, number: n, extranonce1: fmt.Sprintf("%08x", n), extranonce2Len: config.Extranonce2Len,
		jobs: map[string][]job{}, names: map[string]bool{}, more: make(chan struct{}, 1), ended: make(chan struct{})}
	if config.Extranonce1 != nil {
		c.extranonce1 = config.Extranonce1(n)
	}
	p.mu.Lock()
	down := p.down != nil || p.stopped
	p.clients[c] = true
	p.mu.Unlock()
	if down || config.ClosedAt == AtConnect {
		c.Close()
	}
	p.wg.Go(func() {
		c.write()
		c.Close()
		p.mu.Lock()
		delete(p.clients, c)
		p.mu.Unlock()
	})
	p.wg.Go(func() {
		p.serve(c)
		close(c.ended)
	})
}

// line queues a line.
func (c *conn) line(text string) {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.out = append(c.out, text+"\n")
	select {
	case c.more <- struct{}{}:
	default:
	}
}

func (c *conn) send(format string, args ...any) { c.line(fmt.Sprintf(format, args...)) }

// write writes until the client has ended, and what is left then.
func (c *conn) write() {
	for last := false; !last; {
		select {
		case <-c.more:
		case <-c.ended:
			last = true
		}
		c.sending.Lock()
		text := strings.Join(c.out, "")
		c.out = nil
		c.sending.Unlock()
		c.pool.mu.Lock()
		silent, pieces := c.pool.silent, c.pool.config.Pieces
		c.pool.mu.Unlock()
		if silent {
			continue
		}
		step := len(text)
		if pieces {
			step = 1
		}
		for part := range slices.Chunk([]byte(text), max(step, 1)) {
			_ = c.SetWriteDeadline(time.Now().Add(5 * time.Second)) // the write tells what is wrong
			if _, err := c.Write(part); err != nil {
				c.Close()
				break
			}
		}
	}
}

type request struct {
	ID     json.RawMessage
	Method string
	Params []json.RawMessage
}

func (p *Pool) serve(c *conn) {
	in := bufio.NewScanner(c)
	for in.Scan() {
		var r request
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			p.fault("line is not JSON: %.100q", in.Text())
			return
		}
		if r.Method != "mining.submit" {
			p.mu.Lock()
			if len(p.lines) < 1000 {
				p.lines = append(p.lines, in.Text())
			}
			p.mu.Unlock()
		}
		config := p.options()
		if !config.Stuck && !p.handle(c, &config, &r) {
			return
		}
	}
}

func (p *Pool) handle(c *conn, config *Config, r *request) (keep bool) {
	switch r.Method {
	case "mining.configure":
		return p.configure(c, config, r)
	case "mining.subscribe":
		return p.subscribe(c, config, r)
	case "mining.authorize":
		return p.authorize(c, config, r)
	case "mining.submit":
		return p.submit(c, config, r)
	case "mining.suggest_difficulty":
		var d float64
		if config.Suggested && len(r.Params) == 1 && json.Unmarshal(r.Params[0], &d) == nil {
			p.SetDifficulty(d)
		}
	case "": // an answer
	case "mining.extranonce.subscribe":
		c.send(`{"result":true,"error":null,"id":%s}`, r.ID)
	default:
		c.send(`{"result":null,"error":[20,"Unknown method",null],"id":%s}`, r.ID)
	}
	return true
}

func (p *Pool) configure(c *conn, config *Config, r *request) (keep bool) {
	switch {
	case config.ClosedAt == AtConfigure || config.Configure == ConfigureCloses:
		return false
	case config.Configure == ConfigureError:
		c.send(`{"result":null,"error":[20,"Unknown method",null],"id":%s}`, r.ID)
	case config.Configure == Configures:
		mask := config.VersionMask & wantedMask(r.Params)
		p.mu.Lock()
		c.mask = mask
		p.mu.Unlock()
		c.send(`{"result":{"version-rolling":%v,"version-rolling.mask":"%08x"},"error":null,"id":%s}`, mask != 0, mask, r.ID)
	}
	return true
}

// wantedMask is what a mining.configure asks for, everything if it does not say.
func wantedMask(params []json.RawMessage) uint32 {
	var wanted struct {
		Mask string `json:"version-rolling.mask"`
	}
	if len(params) < 2 || json.Unmarshal(params[1], &wanted) != nil {
		return math.MaxUint32
	}
	mask, err := strconv.ParseUint(wanted.Mask, 16, 32)
	if err != nil {
		return math.MaxUint32
	}
	return uint32(mask)
}

func (p *Pool) subscribe(c *conn, config *Config, r *request) (keep bool) {
	switch {
	case config.ClosedAt == AtSubscribe:
		return false
	case config.Full:
		c.send(`{"id":%s,"result":"server is full","error":null}`, r.ID)
	case config.NoParams && len(r.Params) > 0:
		c.send(`{"id":%s,"result":null,"error":[20,"Invalid params",null]}`, r.ID)
	default:
		p.mu.Lock()
		defer p.mu.Unlock()
		if config.WorkFirst {
			p.tellDifficulty(c)
			p.notify(c)
		}
		c.send(`{"result":[[["mining.notify","%08x"]],"%s",%d],"error":null,"id":%s}`, c.number, c.extranonce1, c.extranonce2Len, r.ID)
	}
	return true
}

func (p *Pool) authorize(c *conn, config *Config, r *request) (keep bool) {
	if config.ClosedAt == AtAuthorize || len(r.Params) == 0 {
		return false
	}
	var name, password string
	_ = json.Unmarshal(r.Params[0], &name) // one that is no string is none
	if len(r.Params) > 1 {
		_ = json.Unmarshal(r.Params[1], &password)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	unknown := config.Knows != nil && !config.Knows(name, password)
	if config.NoAuthorize || unknown || config.AuthorizeOne && c.names[name] {
		c.send(`{"reject-reason":"no","result":false,"error":[24,"no",null],"id":%s}`, r.ID)
		return true
	}
	c.send(`{"result":true,"error":null,"id":%s}`, r.ID)
	p.Authorized.Add(1)
	p.workers[name]++
	c.names[name], c.ready = true, true
	if config.ClosedAt == AtFirstJob {
		return false
	}
	if !config.WorkFirst && !config.NoWork {
		if !config.NoDifficulty {
			p.tellDifficulty(c)
		}
		p.notify(c)
	}
	return true
}

// tellDifficulty tells the present difficulty; p.mu is held.
func (p *Pool) tellDifficulty(c *conn) {
	text := number(p.difficulty)
	if p.config.StringDifficulty {
		text = `"` + text + `"`
	}
	c.send(`{"params":[%s],"id":null,"method":"mining.set_difficulty"}`, text)
}

func (p *Pool) submit(c *conn, config *Config, r *request) (keep bool) {
	if c.shares++; config.DropAfter > 0 && c.shares > config.DropAfter || config.ClosedAt == AtSubmit {
		return false
	}
	if config.SilentAfter > 0 && c.shares > config.SilentAfter || config.SilentEvery > 0 && c.shares%config.SilentEvery == 0 {
		return true
	}
	worker, judged, reason, err := p.check(c, r.Params)
	switch {
	case err != nil:
		p.Invalid.Add(1)
		p.fault("%v", err)
		if reason == "" {
			reason = err.Error()
		}
	case config.RejectEvery > 0 && c.shares%config.RejectEvery == 0:
		p.Refused.Add(1)
		reason = "Made up"
	default:
		if config.Refuse != nil {
			reason = config.Refuse(worker, c.shares)
		}
		if config.RefuseNonce != nil && reason == "" {
			reason = config.RefuseNonce(strings.Trim(string(r.Params[2]), `"`))
		}
		if reason != "" {
			p.Refused.Add(1)
			break
		}
		p.Accepted.Add(1)
		p.mu.Lock()
		a := p.book[worker]
		p.book[worker] = Account{a.Shares + 1, a.Difficulty + judged}
		p.mu.Unlock()
	}
	if reason != "" {
		p.mu.Lock()
		p.refused[reason]++
		p.mu.Unlock()
	}
	c.answer(config, config.Answer(string(r.ID), reason))
	return true
}

// answer sends the answer to a share, as late and in what order the configuration
// says.
func (c *conn) answer(config *Config, text string) {
	if config.RepeatEvery > 0 && c.shares%config.RepeatEvery == 0 {
		text += "\n" + text
	}
	if config.Reverse > 1 {
		c.held = append(c.held, text)
		if len(c.held) < config.Reverse {
			return
		}
		slices.Reverse(c.held)
		text = strings.Join(c.held, "\n")
		c.held = nil
	}
	if config.Delay > 0 {
		time.AfterFunc(config.Delay, func() { c.line(text) })
		return
	}
	c.line(text)
}
