package upstream

import (
	"bytes"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/stratum/client"
)

// yes is a pool that accepts every share.
type yes struct {
	net.Conn
	answers chan []byte
	id      uint64
	rest    []byte
}

func (y *yes) Write(b []byte) (int, error) {
	var out []byte
	for range bytes.Count(b, []byte("\n")) {
		y.id++
		out = append(strconv.AppendUint(append(out, `{"id":`...), y.id, 10), `,"result":true}`+"\n"...)
	}
	y.answers <- out
	return len(b), nil
}

func (y *yes) Read(b []byte) (int, error) {
	if len(y.rest) == 0 {
		var open bool
		if y.rest, open = <-y.answers; !open {
			return 0, net.ErrClosed
		}
	}
	n := copy(b, y.rest)
	y.rest = y.rest[n:]
	return n, nil
}

func (y *yes) Close() error                     { return nil }
func (y *yes) SetReadDeadline(time.Time) error  { return nil }
func (y *yes) SetWriteDeadline(time.Time) error { return nil }

type counter chan source.Verdict

func (c counter) Verdict(_, _ uint64, v source.Verdict) { c <- v }

// BenchmarkSubmit is what a share costs that goes up, with its verdict.
func BenchmarkSubmit(b *testing.B) {
	p, err := NewPool(Config{URL: "pool.example.org", User: "farm"}, Options{})
	if err != nil {
		b.Fatal(err)
	}
	conn := &yes{answers: make(chan []byte, 1<<16)}
	l := &line{pool: p, ledger: newLedger(p.ledger)}
	l.setForce(1)
	state := &client.State{URL: "pool.example.org", Extranonce: stratum.Extranonce{Extranonce2Len: 8}}
	c := client.Resume(conn, state, p.endpoint(), p.clientOptions(), nil)
	c.Start()
	l.client.Store(c)
	const window = 256
	heard := make(counter, window)
	f := &source.Found{Upstream: &source.Upstream{JobID: "1f", Difficulty: 1}, Worker: "a.b", Finder: heard, Extranonce2Len: 8, Difficulty: 2}
	b.ReportAllocs()
	open := 0
	for b.Loop() {
		if open++; open > window/2 {
			if v := <-heard; v.State != source.AcceptedAbove {
				b.Fatal(v)
			}
			open--
		}
		if !l.submit(f, 1) {
			b.Fatal("not taken")
		}
	}
	for ; open > 0; open-- {
		<-heard
	}
	close(conn.answers)
	c.Close()
}
