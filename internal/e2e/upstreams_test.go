package e2e

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/stratum/client"
)

// upstreamFigures is what proxystats says of one pool above.
type upstreamFigures struct {
	ID                int
	URL               string
	Alive, Disabled   bool
	Total             float64        `json:"total_accepted"`
	Accepted          int            `json:"accepted_count"`
	Refused           int            `json:"rejected_count"`
	Reasons           map[string]int `json:"rejects"`
	NotSent           int            `json:"not_sent_count"`
	NotSentDifficulty float64        `json:"not_sent"`
	Unanswered        int            `json:"unanswered_count"`
	Unsendable        int            `json:"unsendable_count"`
	Waiting           int
	RefusedHere       int     `json:"refused_here_count"`
	RefusedDifficulty float64 `json:"refused_here"`
}

func (r *running) upstreams() []upstreamFigures {
	r.t.Helper()
	return ask[struct{ Proxy []upstreamFigures }](r, "proxystats").Proxy
}

// about is for numbers that control shows with few digits.
func about(a, b float64) bool { return math.Abs(a-b) <= 1e-3*b }

// acts sends a command that changes something.
func (r *running) acts(command string) {
	r.t.Helper()
	if e := ask[struct{ Errormsg string }](r, command).Errormsg; e != "" {
		r.t.Errorf("%s: %s", command, e)
	}
}

// An operator adds, reorders, disables and removes pools while miners work: these go
// where they are to, and keep their connections.
func TestUpstreamsByHand(t *testing.T) {
	t.Parallel()
	a, b, c := otherPool(t, 0xaa, otherpool.Config{}), otherPool(t, 0xbb, otherpool.Config{}), otherPool(t, 0xcc, otherpool.Config{})
	p := proxyOf(nil, a.Addr, b.Addr).start(t)
	p.worksAt(t, a, b)
	miners := []*hand{p.connect(t, "alice"), p.connectAs(t, "bob", rolling)}
	since := time.Time{}
	at := func(mark byte) {
		t.Helper()
		for _, h := range miners {
			j, _ := h.jobWhere(patience, fmt.Sprintf("of %x", mark), func(j client.Notify, came time.Time) bool {
				return came.After(since) && from(mark)(j, came)
			})
			h.goesUp(j)
			h.connected()
		}
		since = time.Now()
	}
	at(0xaa)
	p.acts(`disableproxy={"id":0}`)
	at(0xbb)
	p.acts(`enableproxy={"id":0}`)
	at(0xaa)
	p.acts(fmt.Sprintf(`addproxy={"url":%q,"auth":"farm","pass":"x"}`, c.Addr))
	p.log.wait(t, 0, c.Addr+" gives work")
	p.acts(`setproxy={"id":2,"priority":0}`)
	at(0xcc)
	p.acts(`delproxy={"id":2}`)
	at(0xaa)
	for above, shares := range map[*otherpool.Pool]int{a: 6, b: 2, c: 2} {
		booked(t, above, shares)
	}
	list := p.upstreams()
	if len(list) != 2 || list[0].URL != a.Addr || list[1].URL != b.Addr {
		t.Errorf("%+v", list)
	}
}

// The figures of a pool above are its own: accepted, and refused by reason.
func TestUpstreamFigures(t *testing.T) {
	t.Parallel()
	above := otherPool(t, 0xaa, otherpool.Config{RejectEvery: 4})
	p := proxyOf(keys{"mindiff": aboveDifficulty / 16, "startdiff": aboveDifficulty / 16, "maxdiff": aboveDifficulty / 16}, above.Addr).start(t)
	p.works(t)
	h := p.connect(t, "rig")
	up, here, refused := 0, 0, 0
	for range 160 {
		j := h.job()
		s := h.solve(j, targetOf(j))
		r := h.submit(s)
		switch {
		case r != nil:
			refused++
		case s.achieved >= aboveDifficulty:
			up++
		default:
			here++
		}
	}
	bad := h.solve(h.job(), difficulty.TargetFromDifficulty(1e-12))
	for bad.achieved >= aboveDifficulty/16 {
		bad = h.solve(h.job(), difficulty.TargetFromDifficulty(1e-12))
	}
	if r := h.submit(bad); r == nil {
		t.Error("a share below the difficulty is accepted")
	}
	f := p.upstreams()[0]
	if !about(f.Total, float64(up)*aboveDifficulty) || !about(f.NotSentDifficulty, float64(here)*aboveDifficulty/16) ||
		f.RefusedHere != 1 || !about(f.RefusedDifficulty, aboveDifficulty/16) {
		t.Errorf("difficulties: %+v; %d accepted above, %d here", f, up, here)
	}
	if f.Accepted != up || f.NotSent != here || f.Refused != refused || f.Reasons["Made up"] != refused ||
		f.Unanswered+f.Unsendable+f.Waiting != 0 || !f.Alive {
		t.Errorf("%+v; %d accepted above, %d here, %d refused", f, up, here, refused)
	}
	if int(above.Accepted.Load()) != up || int(above.Refused.Load()) != refused || above.Invalid.Load() != 0 {
		t.Errorf("the pool's book: %v", above.Book())
	}
}
