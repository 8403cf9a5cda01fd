package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"
)

// raw is a connection of which a test sees every line.
type raw struct {
	net.Conn
	t    *testing.T
	read *bufio.Reader
	id   int
}

// dialRaw connects from a local address of 127.0.0.0/8. The error is that of a
// connection refused at once.
func (r *running) dialRaw(t *testing.T, from string) (*raw, error) {
	t.Helper()
	d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(t.Context(), "tcp", r.addr)
	if err != nil {
		return nil, err
	}
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	return &raw{Conn: c, t: t, read: bufio.NewReader(patient{c})}, nil
}

// patient is a connection on which each wait is a new one, however long it is there.
type patient struct{ net.Conn }

func (c patient) Read(b []byte) (int, error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.Conn.Read(b)
}

// rawFrom is dialRaw where nothing must go wrong.
func (r *running) rawFrom(t *testing.T, from string) *raw {
	t.Helper()
	c, err := r.dialRaw(t, from)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// answer is the answer to a request.
type answer struct {
	Result json.RawMessage
	Error  []any
	ID     int
}

// code is that of the error, 0 for none.
func (a *answer) code() int {
	if len(a.Error) == 0 {
		return 0
	}
	code, _ := a.Error[0].(float64)
	return int(code)
}

func (a *answer) text() string {
	if len(a.Error) < 2 {
		return ""
	}
	return fmt.Sprint(a.Error[1])
}

// ask sends a request and waits for its answer.
func (c *raw) ask(method string, params ...any) (a answer, err error) {
	c.id++
	if params == nil {
		params = []any{}
	}
	line, err := json.Marshal(map[string]any{"id": c.id, "method": method, "params": params})
	if err != nil {
		return a, err
	}
	if _, err := c.Write(append(line, '\n')); err != nil {
		return a, err
	}
	return c.answer(c.id)
}

// answer waits for the answer to a request.
func (c *raw) answer(id int) (a answer, err error) {
	for {
		line, err := c.read.ReadBytes('\n')
		if err != nil {
			return a, err
		}
		a = answer{}
		if err := json.Unmarshal(line, &a); err != nil {
			return a, fmt.Errorf("%q: %w", line, err)
		}
		if a.ID == id {
			return a, nil
		}
	}
}

func (c *raw) mustAsk(method string, params ...any) answer {
	c.t.Helper()
	a, err := c.ask(method, params...)
	if err != nil {
		c.t.Fatalf("%s %v: %v", method, params, err)
	}
	return a
}

// served tells whether a connection from an address is answered; else it is
// closed without a word.
func (r *running) served(t *testing.T, from string) (*raw, bool) {
	t.Helper()
	c, err := r.dialRaw(t, from)
	if err == nil {
		_, err = c.ask("mining.subscribe", "e2e/1")
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("from %s: neither served nor refused", from)
	}
	return c, err == nil
}

// connections is what connectorstats says.
type connections struct {
	Clients struct{ Count int }
	Drops   map[string]int
}

func (r *running) connections() connections { return ask[connections](r, "connectorstats") }

// dropped waits until so many connections were dropped for a reason, and
// expects one line about it beside those about single clients.
func (r *running) dropped(t *testing.T, why string, want int) {
	t.Helper()
	eventually(t, patience, fmt.Sprint(want, " dropped: ", why), func() bool { return r.connections().Drops[why] == want })
	lines := func() int { return r.log.count(": "+why) - r.log.count(" client ", ": "+why) }
	eventually(t, patience, "a line that says "+why, func() bool { return lines() > 0 }) // it is counted first
	if n := lines(); n != 1 {
		t.Errorf("%d lines say %q, want one a minute:\n%s", n, why, r.log.text())
	}
}
