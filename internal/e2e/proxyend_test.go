package e2e

import (
	"net"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/stratum/client"
)

// Z1: a proxy that is told to end leaves in order, and what is under way above by then is
// not told to be accepted. Where it has been, another one serves the same miners.
func TestZ1(t *testing.T) {
	t.Parallel()
	above := otherPool(t, 0xaa, otherpool.Config{})
	s := proxyOf(nil, above.Addr)
	p := s.start(t)
	p.works(t)
	h := p.connectAs(t, "rig", rolling)
	j := h.job()
	h.goesUp(j)

	// The pool takes the next share and its answer does not come.
	above.Silence(true)
	verdict := make(chan client.Verdict, 1)
	if err := j.Send(h.solve(j, targetOf(j)).Share, func(v client.Verdict) { verdict <- v }); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the share above", func() bool { return above.Accepted.Load() == 2 })
	p.stop()
	select {
	case v := <-verdict:
		if v.Err == nil && v.Reject == nil {
			t.Error("the share is accepted, and nobody said so")
		}
	case <-time.After(patience):
		t.Error("no verdict")
	}
	above.Silence(false)
	eventually(t, patience, "the miner's end and that of the line above", func() bool { return h.ended() != nil && above.Connected() == 0 })
	if c, err := net.Dial("tcp", p.addr); err == nil {
		c.Close()
		t.Error("the port is still open")
	}

	p = s.start(t)
	p.works(t)
	h = p.connectAs(t, "rig", rolling)
	h.goesUp(h.job())
	booked(t, above, 3)
}
