package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/stratum/client"
)

// Whatever a pool above is like, miners behind our proxy work for it, and what they are
// told of their shares is what is in its book.
func TestOddPools(t *testing.T) {
	t.Parallel()
	extranonce1 := func(bytes int) func(int) string {
		return func(n int) string { return strings.Repeat(fmt.Sprintf("%02x", 0xa0+n), bytes) }
	}
	pools := map[string]otherpool.Config{
		"empty extranonce1":          {Extranonce1: extranonce1(0)},
		"extranonce1 of 16 bytes":    {Extranonce1: extranonce1(16)},
		"NiceHash of 5 and 3":        {Extranonce1: extranonce1(5), Extranonce2Len: 3, VersionMask: 0x1fffe000},
		"NiceHash of 9 and 3":        {Extranonce1: extranonce1(9), Extranonce2Len: 3, VersionMask: 0x1fffe000},
		"work before the reply":      {WorkFirst: true},
		"string difficulty":          {StringDifficulty: true},
		"difficulty of the first":    {WorkFirst: true, StringDifficulty: true, Pieces: true},
		"answers out of order":       {Reverse: 3},
		"lines in pieces":            {Pieces: true},
		"answers that are late":      {Delay: 300 * time.Millisecond},
		"answers sent twice":         {RepeatEvery: 1},
		"no params of subscribe":     {NoParams: true},
		"unknown configure":          {Configure: otherpool.ConfigureError},
		"closes on configure":        {Configure: otherpool.ConfigureCloses},
		"a name once":                {AuthorizeOne: true},
		"many branches":              {Branches: 14},
		"work of each connection":    {JobPerClient: true},
		"version of another block":   {Version: 0x20400000, VersionMask: 0x1fffe000},
		"judges at once":             {Policy: otherpool.AtOnce},
		"judges by what is lower":    {Policy: otherpool.Lenient},
		"answers with strings":       {Answer: otherpool.Forms["string"]},
		"answers with objects":       {Answer: otherpool.Forms["object"]},
		"answers with ids of string": {Answer: otherpool.Forms["id as a string"]},
	}
	for size := 2; size <= 16; size++ {
		pools[fmt.Sprintf("extranonce2 of %d bytes", size)] = otherpool.Config{Extranonce2Len: size}
	}
	for name, config := range pools {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			above := otherPool(t, 0xaa, config)
			p := proxyOf(nil, above.Addr).start(t)
			p.works(t)
			worksFor(t, p, above)
		})
	}
}

// worksFor lets three miners find shares of two jobs and compares the books.
func worksFor(t *testing.T, p *running, above *otherpool.Pool) {
	t.Helper()
	var miners []*hand
	for i := range 3 {
		o := client.Options{}
		if i > 0 {
			o = rolling
		}
		miners = append(miners, p.connectAs(t, fmt.Sprint("rig", i), o))
	}
	sent := 0
	// Three at a time, since some pools hold answers back until there are three.
	round := func(jobs []client.Notify) {
		t.Helper()
		verdicts := make(chan client.Verdict, len(miners))
		for i, h := range miners {
			s := h.solve(jobs[i], targetOf(jobs[i]))
			s.HasVersionBits = jobs[i].VersionMask != 0
			s.VersionBits = jobs[i].Version & jobs[i].VersionMask // which the hash has
			if err := jobs[i].Send(s.Share, func(v client.Verdict) { verdicts <- v }); err != nil {
				t.Fatal(err)
			}
			sent++
		}
		deadline := time.After(patience)
		for range miners {
			select {
			case v := <-verdicts:
				if v.Err != nil || v.Reject != nil {
					t.Errorf("share: %v, %v", v.Reject, v.Err)
				}
			case <-deadline:
				t.Fatal("no verdict")
			}
		}
	}
	var jobs []client.Notify
	for _, h := range miners {
		jobs = append(jobs, h.job())
	}
	round(jobs)
	round(jobs)
	since := time.Now()
	if err := above.NewBlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, h := range miners {
		jobs[i], _ = h.jobSince(patience, since)
		if !jobs[i].Clean {
			t.Error("the job on another block is not clean")
		}
	}
	round(jobs)
	for _, h := range miners {
		h.connected()
	}
	booked(t, above, sent)
	if st := ask[poolStats](p, "poolstats"); st.Accepted != int64(sent) || st.Rejected != 0 {
		t.Errorf("here: %+v", st)
	}
}

// A pool that is full is tried again, and another one mined for meanwhile.
func TestFullPool(t *testing.T) {
	t.Parallel()
	full, other := otherPool(t, 0xaa, otherpool.Config{Full: true}), otherPool(t, 0xbb, otherpool.Config{})
	p := proxyOf(nil, full.Addr, other.Addr).start(t)
	p.works(t)
	p.log.wait(t, 0, "server is full")
	h := p.connect(t, "rig")
	h.goesUp(h.job())
	booked(t, other, 1)
	since := time.Now()
	full.Configure(func(c *otherpool.Config) { c.Full = false })
	j, _ := h.jobWhere(patience, "of the first pool", func(j client.Notify, came time.Time) bool {
		return came.After(since) && from(0xaa)(j, came)
	})
	h.goesUp(j)
	booked(t, full, 1)
	h.connected()
}

// A job that is sent again under its id after another extranonce1 or difficulty is other
// work, and shares of either count. Miners keep their connections.
func TestSameJobAgain(t *testing.T) {
	t.Parallel()
	above := otherPool(t, 0xaa, otherpool.Config{})
	p := proxyOf(nil, above.Addr).start(t)
	p.works(t)
	h := p.connect(t, "rig")
	first := h.job()
	h.goesUp(first)

	above.SetExtranonce(func(n int) string { return fmt.Sprintf("bbbb%04x", n) }, 8)
	above.Resend()
	second, _ := h.jobWhere(patience, "with the other extranonce1", from(0xbb))
	h.goesUp(second)
	h.goesUp(first) // was given under the former extranonce1

	const low = aboveDifficulty / 4
	above.SetDifficulty(low)
	above.Resend()
	third, _ := h.jobWhere(patience, "with the difficulty", func(j client.Notify, _ time.Time) bool { return j.Difficulty == low })
	h.goesUp(third)
	h.connected()
	booked(t, above, 4)
	if d := above.Book()["farm"].Difficulty; d != 3*aboveDifficulty+low {
		t.Errorf("accepted %v", d)
	}
}
