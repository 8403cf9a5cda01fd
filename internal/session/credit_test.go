package session

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/work"

	"pgregory.net/rapid"
)

// toldMiner is a miner that believes what it reads: of each job it knows the
// difficulty that it was sent with, as the wire has it.
type toldMiner struct {
	*rig
	t          *rapid.T
	all        map[uint64]*work.Job // every job there ever was
	tips       map[uint64]int       // number of its tip
	tip        int
	slot       netserver.Slot
	id         string  // of the session
	difficulty float64 // last sent
	jobs       []toldJob
	credited   map[[32]byte]bool // hashes that were answered true
}

// toldJob is one announcement.
type toldJob struct {
	stratum.Notify
	difficulty float64
	replaced   time.Time // when another difficulty was first sent, zero if never
	raised     bool      // a higher difficulty was sent since
}

// read takes what was sent to the miner, in the order it was sent in.
func (m *toldMiner) read(lines []string) {
	for _, line := range lines {
		var msg stratum.Message
		stratum.Scan([]byte(line), &msg)
		switch string(msg.Method) {
		case "mining.set_difficulty":
			p, _ := stratum.ParseParams(msg.Params)
			raw, _ := p.Next()
			m.difficulty, _ = stratum.Number(raw)
			for i := range m.jobs {
				j := &m.jobs[i]
				if j.replaced.IsZero() {
					j.replaced = m.now
				}
				j.raised = j.raised || m.difficulty > j.difficulty
			}
		case "mining.notify":
			n := stratum.Notify{}
			if err := n.Parse(msg.Params); err != nil {
				m.t.Fatal(err)
			}
			m.jobs = append(m.jobs, toldJob{Notify: n, difficulty: m.difficulty})
		}
	}
}

func (m *toldMiner) publish(newTip bool) {
	if newTip {
		m.tip++
		m.backend.newTip(m.now)
	} else {
		m.backend.newJob(m.now)
	}
	j := m.backend.work.Job
	m.all[j.ID], m.tips[j.ID] = j, m.tip
}

// connect begins, or resumes the session.
func (m *toldMiner) connect() {
	m.slot = m.open()
	first := m.id == ""
	lines := m.send(m.slot, `{"id":1,"method":"mining.subscribe","params":["cgminer/4.12.1","`+m.id+`"]}`)
	m.id = formatID(m.session(m.slot).id)
	if first { // else it is not mined on: it is sent again to the session's owner
		m.read(lines)
	}
	m.read(m.send(m.slot, `{"id":2,"method":"mining.authorize","params":["bob","x"]}`))
}

// share submits a hash of an announcement and checks the verdict against what
// the miner was told.
func (m *toldMiner) share(j *toldJob, sub stratum.Submit, sh *work.Share) {
	m.backend.shares = m.backend.shares[:0]
	line := fmt.Sprintf(`{"id":9,"method":"mining.submit","params":["bob","%s","%016x","%08x","%08x"]}`, j.JobID, 0, sub.NTime, sub.Nonce)
	lines := m.send(m.slot, line)
	answer := lines[0]
	credit := m.backend.last().Credit
	taken := strings.Contains(answer, `"result":true`)
	_, known := m.backend.jobs[sub.JobID]
	good := known && m.tips[sub.JobID] == m.tips[m.backend.work.Job.ID]
	own := difficulty.Meets(&sh.Hash, j.difficulty)
	inFlight := !j.raised || m.now.Sub(j.replaced) <= 120*time.Second
	fail := func(what string) {
		m.t.Helper()
		m.t.Fatalf("a hash of %.3g on job %s, sent with %g, replaced %v ago, present %g: %s, credited %g: %s",
			sh.Difficulty, j.JobID, j.difficulty, m.now.Sub(j.replaced), m.difficulty, answer, credit, what)
	}
	switch {
	case credit != 0 && (!own || credit != j.difficulty):
		fail("credit is not what the job was sent with")
	case credit != 0 && m.credited[sh.Hash]:
		fail("credited twice")
	case credit != 0 && !good:
		fail("credited for a job that is gone")
	case good && own && inFlight && !m.credited[sh.Hash] && credit == 0:
		fail("not credited")
	case good && difficulty.Meets(&sh.Hash, m.difficulty) && !m.credited[sh.Hash] && !taken:
		fail("a hash that meets the present difficulty is refused")
	}
	if taken {
		m.credited[sh.Hash] = true
	}
	m.read(lines[1:])
}

// Credit per hash, as decided: a job pays exactly the difficulty it was sent
// with, to a hash that meets that one, once. A hash meets a difficulty d once in d
// hashes: what is mined at its own difficulty is so credited 1 per hash, and
// nothing ever more, whatever changes in between and however long it takes.
func TestCreditIsWhatTheJobWasSentWith(t *testing.T) {
	difficulties := []float64{1e-9, 2e-9, 5e-9, 2e-8, 1e-7}
	rapid.Check(t, func(rt *rapid.T) {
		m := &toldMiner{
			rig: newRig(t, startDiff(5e-9)), t: rt,
			all: map[uint64]*work.Job{}, tips: map[uint64]int{}, credited: map[[32]byte]bool{},
		}
		m.publish(true)
		m.connect()
		var subs []stratum.Submit
		var of []int
		var hashes []work.Share
		submit := func(i int) { m.share(&m.jobs[of[i]], subs[i], &hashes[i]) }
		pick := func(n int, what string) int { return rapid.IntRange(0, n-1).Draw(rt, what) }
		rt.Repeat(map[string]func(*rapid.T){
			"suggest": func(rt *rapid.T) {
				d := rapid.SampledFrom(difficulties).Draw(rt, "difficulty")
				m.read(m.send(m.slot, fmt.Sprintf(`{"id":4,"method":"mining.suggest_difficulty","params":[%.9f]}`, d)))
			},
			"change": func(rt *rapid.T) { // which may not follow another at once
				d := rapid.SampledFrom(difficulties).Draw(rt, "difficulty")
				m.now = m.now.Add(11 * time.Second)
				m.read(m.send(m.slot, fmt.Sprintf(`{"id":4,"method":"mining.suggest_difficulty","params":[%.9f]}`, d)))
			},
			"wait": func(rt *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.SampledFrom([]int{1, 9, 40, 105, 125, 700, 4000}).Draw(rt, "seconds")) * time.Second)
				m.Tick(m.now)
				m.read(m.written(m.slot))
			},
			"job": func(rt *rapid.T) { m.publish(rapid.IntRange(0, 3).Draw(rt, "new tip") == 0) },
			"step": func(*rapid.T) {
				m.Step()
				m.read(m.written(m.slot))
			},
			"job and step": func(rt *rapid.T) {
				m.publish(false)
				m.Step()
				m.read(m.written(m.slot))
			},
			"drop": func(rt *rapid.T) { // with the next job
				ids := slices.Sorted(maps.Keys(m.backend.jobs))
				m.backend.keepFrom = max(m.backend.keepFrom, ids[pick(len(ids), "first kept")])
			},
			"reconnect": func(rt *rapid.T) {
				if pick(4, "really") == 0 {
					m.disconnect(m.slot)
					m.connect()
				}
			},
			"share": func(rt *rapid.T) {
				i := len(m.jobs) - 1 - pick(min(len(m.jobs), 12), "announcements ago")
				j := &m.jobs[i]
				class := pick(len(difficulties), "class")
				sub, sh := m.find(j, difficulties[class:])
				subs, of, hashes = append(subs, sub), append(of, i), append(hashes, sh)
				if pick(3, "at once") > 0 {
					submit(len(subs) - 1)
				}
			},
			"earlier share": func(rt *rapid.T) {
				if len(subs) == 0 {
					rt.Skip()
				}
				submit(len(subs) - 1 - pick(min(len(subs), 12), "shares ago"))
			},
		})
	})
}

// find mines on an announcement until a hash meets the first of some difficulties
// and not the second.
func (m *toldMiner) find(j *toldJob, class []float64) (sub stratum.Submit, sh work.Share) {
	id, suffix, _ := stratum.JobID([]byte(j.JobID))
	miner, job := m.client(m.slot).miner(), m.all[id]
	found := work.Solution{Variant: suffix, Extranonce2: make([]byte, 8), Time: j.NTime, Version: job.Version}
	sub = stratum.Submit{JobID: id, Suffix: suffix, Extranonce2Len: 8, NTime: j.NTime}
	for {
		m.nonce++
		sub.Nonce, found.Nonce = m.nonce, m.nonce
		job.Hash(&sh, &miner, &found)
		if difficulty.Meets(&sh.Hash, class[0]) && (len(class) == 1 || !difficulty.Meets(&sh.Hash, class[1])) {
			return sub, sh
		}
	}
}
