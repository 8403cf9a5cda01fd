package session

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum"
)

// farmMiner is a miner as it understands what it is sent.
type farmMiner struct {
	slot        netserver.Slot
	extranonce1 []byte
	extranonce2 int
	jobs        []minersJob
	waiting     map[string]bool // ids of submits without answer
	gone        bool
}

// minersJob is a job with what the miner had when it was sent.
type minersJob struct {
	stratum.Notify
	as as
	at time.Time
}

// read takes what the miner was sent; answers are left.
func (m *farmMiner) read(t *testing.T, lines []string, now time.Time) (answers []stratum.Message) {
	for _, line := range lines {
		var msg stratum.Message
		stratum.Scan([]byte(line), &msg)
		switch string(msg.Method) {
		case "mining.notify":
			var n stratum.Notify
			if err := n.Parse(msg.Params); err != nil {
				t.Fatal(err)
			}
			m.jobs = append(m.jobs, minersJob{n, as{m.slot, m.extranonce1, m.extranonce2}, now})
		case "mining.set_extranonce":
			p, _ := stratum.ParseParams(msg.Params)
			text, _ := p.Next()
			size, _ := p.Next()
			m.extranonce1, _ = hex.DecodeString(strings.Trim(string(text), `"`))
			m.extranonce2 = atoi(string(size))
		case "client.reconnect":
			m.gone = true
		case "":
			answers = append(answers, msg)
		}
	}
	return answers
}

// Whatever miners and pools do, each share is answered once, with what the pool above
// says of those that go there, no two miners have the same work, and a share of a job
// that still counts is never unknown.
func TestFarm(t *testing.T) {
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 1))
		r, a := newProxy(t, nil)
		shapes := []source.Shape{{Own: 2, Extranonce2: 4}, {Own: 2, Extranonce2: 4}, {Own: 1, Extranonce2: 4}, {Own: 1, Extranonce2: 3}, {Own: 2, Extranonce2: 8}}
		for number := range uint32(5) {
			number++
			a.lines[number] = &line{
				number: number, shape: shapes[number-1], pad: random.IntN(4), difficulty: up, mask: 0x1fffe000 * uint32(random.IntN(2)), bits: 0x1b0404cb,
				extranonce1: []byte{0xf0, byte(number)},
			}
			a.works[number] = nil
			a.give(number, true)
		}
		a.place = func(n *Newcomer) (uint32, bool) {
			if n.Source != 0 {
				return n.Source, true
			}
			return 1 + random.Uint32N(5), true
		}
		var miners []*farmMiner
		var told, said, here int // shares said to be accepted: to miners, by pools, by us
		submits := 0
		judged := 0
		read := func() {
			for _, m := range miners {
				for _, answer := range m.read(t, r.written(m.slot), r.now) {
					id := string(answer.ID)
					if !m.waiting[id] {
						t.Fatalf("seed %d: answered %s twice, or unasked", seed, id)
					}
					delete(m.waiting, id)
					if string(answer.Result) == "true" {
						told++
					}
				}
			}
		}
		judge := func() {
			f := a.found[judged]
			judged++
			v := source.Verdict{State: source.VerdictState(random.IntN(3)), Code: 20, Text: "no"}
			known := r.unjudged.byNumber[f.Share] != nil
			if v.State == source.AcceptedAbove && known {
				said++
			}
			r.group.Verdict(f.Client, f.Share, v)
			for r.Step() {
			}
		}
		for range 1500 {
			switch random.IntN(10) {
			case 0:
				if len(miners) > 40 {
					break
				}
				m := &farmMiner{slot: r.open(), waiting: map[string]bool{}}
				reply := r.send(m.slot, `{"id":1,"method":"mining.subscribe","params":[]}`)
				m.extranonce1, m.extranonce2 = slices.Clone(r.session(m.slot).extranonce1Bytes()), int(r.session(m.slot).extranonce2Len)
				m.read(t, reply, r.now)
				m.read(t, r.send(m.slot, `{"id":2,"method":"mining.authorize","params":["bob.rig1","x"]}`), r.now)
				if random.IntN(2) == 0 {
					r.send(m.slot, `{"id":3,"method":"mining.extranonce.subscribe","params":[]}`)
				}
				miners = append(miners, m)
			case 1:
				if len(miners) > 0 && random.IntN(2) == 0 {
					i := random.IntN(len(miners))
					m := miners[i]
					r.disconnect(m.slot)
					delete(r.out, m.slot)
					miners = slices.Delete(miners, i, i+1)
				}
			case 2, 3:
				a.give(1+random.Uint32N(5), random.IntN(3) == 0)
			case 4:
				for range 1 + random.IntN(10) {
					if len(miners) > 0 {
						m := miners[random.IntN(len(miners))]
						r.Move([]Move{{r.session(m.slot).client, 1 + random.Uint32N(5)}})
					}
				}
				for _, number := range a.renewed {
					a.give(number, false)
				}
				a.renewed = nil
			case 5:
				r.now = r.now.Add(time.Duration(random.IntN(5)) * time.Second)
				r.Tick(r.now)
				if random.IntN(20) == 0 {
					a.keepFrom = a.nextJob - min(30, uint64(random.IntN(60)))
				}
			case 6:
				for judged < len(a.found) && random.IntN(4) > 0 {
					judge()
				}
			default:
				if len(miners) == 0 {
					break
				}
				m := miners[random.IntN(len(miners))]
				if len(m.jobs) == 0 {
					t.Fatalf("seed %d: a miner without a job", seed)
				}
				n := m.jobs[max(0, len(m.jobs)-1-random.IntN(3))]
				id, _, _ := stratum.JobID([]byte(n.JobID))
				if a.jobs[id] == nil {
					break
				}
				submits++
				low, high := dark, up
				if random.IntN(2) == 0 {
					low, high = up, 0
				}
				line := a.find(n.as, &n.Notify, low, high)
				line = strings.Replace(line, `"id":9`, fmt.Sprintf(`"id":%d`, 1000+submits), 1)
				m.waiting[fmt.Sprint(1000+submits)] = true
				counted, found := len(r.backend.shares), len(a.found)
				r.Line(m.slot, []byte(line))
				if len(r.backend.shares) > counted {
					sh := r.backend.last()
					if sh.Reason == UnknownJob || sh.Reason == Malformed || sh.Reason == AboveTarget {
						t.Fatalf("seed %d: a share of job %s, sent to the miner, is refused: %v", seed, n.JobID, sh.Reason)
					}
					if sh.Reason == Accepted && !sh.WentUp {
						here++
					}
				}
				if len(a.found) > found && a.lastFound().Client != r.session(m.slot).client {
					t.Fatalf("seed %d: went up as another's", seed)
				}
			}
			read()
			owners := map[string]uint64{}
			for slot := range r.top {
				s := r.session(slot)
				if s.client == 0 || !s.is(subscribed) {
					continue
				}
				key := fmt.Sprintf("%d %x", s.source, s.extranonce1Bytes())
				if other, taken := owners[key]; taken {
					t.Fatalf("seed %d: clients %d and %d have extranonce1 %s", seed, other, s.client, key)
				}
				owners[key] = s.client
			}
		}
		for judged < len(a.found) {
			judge()
		}
		read()
		// Nobody hears of shares of those who left.
		left := 0
		for _, sh := range r.backend.shares {
			if sh.Reason == Accepted && !slices.ContainsFunc(miners, func(m *farmMiner) bool { return r.session(m.slot).client == sh.Client }) {
				left++
			}
		}
		for _, m := range miners {
			if len(m.waiting) > 0 {
				t.Errorf("seed %d: %d shares are not answered", seed, len(m.waiting))
			}
		}
		if told > said+here || told < said+here-left {
			t.Errorf("seed %d: %d shares are said to be accepted, pools have accepted %d, we %d", seed, told, said, here)
		}
		if submits < 200 || len(a.found) < 50 || told < 50 {
			t.Errorf("seed %d: %d submits, %d went up, %d accepted: too few for this test", seed, submits, len(a.found), told)
		}
		total := 0
		for number := range uint32(5) {
			total += a.opened[number+1]
		}
		if total != len(miners) {
			t.Errorf("seed %d: %d sessions by source, of %d", seed, total, len(miners))
		}
	}
}
