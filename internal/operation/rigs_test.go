package operation

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/testkit/miner"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/stratum/client"
)

const (
	outageMiners = 30
	outageEvery  = 100 * time.Millisecond // between two shares of a miner
	// redialAfter is how soon a miner tries again. Firmware takes some seconds.
	redialAfter = 50 * time.Millisecond
)

// rig is one miner: it connects again as soon as it is closed.
type rig struct {
	name string

	// owned by its goroutine
	hasher  *miner.Hasher
	session string // to go on with, "" none

	// any goroutine
	accepts atomic.Int64 // shares

	mu sync.Mutex
	// guarded by mu
	times []time.Time // of accepted shares
	drops int         // connections lost
}

// rigs are all miners and what they have heard.
type rigs struct {
	addr    string
	list    []*rig
	refused atomic.Int64
	running sync.WaitGroup

	mu sync.Mutex
	// guarded by mu
	accepted, refusals, unknown map[[32]byte]bool // by the hash; unknown have no answer, or are said to be there already
	reasons                     map[string]int
}

func (r *rigs) mine(ctx context.Context) {
	for i := range outageMiners {
		g := &rig{name: fmt.Sprintf("alice.%d", i), hasher: miner.NewHasher()}
		r.list = append(r.list, g)
		r.running.Go(func() {
			for ctx.Err() == nil {
				r.connection(ctx, g)
				select {
				case <-ctx.Done():
				case <-time.After(redialAfter):
				}
			}
		})
	}
}

// connection lets a miner mine over one connection, until it ends.
func (r *rigs) connection(ctx context.Context, g *rig) {
	c, err := client.Dial(ctx, client.Endpoint{URL: r.addr, User: g.name, Password: "x"},
		client.Options{UserAgent: "cgminer/4.12.1", SessionID: g.session, HandshakeTimeout: 5 * time.Second})
	if err != nil {
		if g.session = ""; ctx.Err() == nil {
			r.refused.Add(1)
		}
		return
	}
	var open sync.WaitGroup
	var job *client.Notify
	counter := rand.Uint32()
	ticks := time.NewTicker(outageEvery)
	defer ticks.Stop()
	for events := c.Events(); ; {
		select {
		case <-ctx.Done():
			waited := make(chan struct{})
			go func() {
				open.Wait()
				close(waited)
			}()
			select {
			case <-waited:
			case <-time.After(5 * time.Second):
			}
			c.Close()
			<-waited
			return
		case e := <-events:
			switch e := e.(type) {
			case client.Notify:
				job = &e
			case client.Extranonce:
				g.session = e.SessionID
			case client.Reconnect:
				c.End(errors.New("asked to connect again"))
			case client.Closed:
				g.mu.Lock()
				g.drops++
				g.mu.Unlock()
				c.Close()
				open.Wait()
				return
			}
		case <-ticks.C:
			if job != nil {
				counter++
				r.submit(g, job, counter, &open)
			}
		}
	}
}

func (r *rigs) submit(g *rig, job *client.Notify, counter uint32, open *sync.WaitGroup) {
	extranonce2 := make([]byte, job.Extranonce.Extranonce2Len)
	binary.BigEndian.PutUint32(extranonce2[len(extranonce2)-4:], counter)
	var s miner.Search
	g.hasher.Start(&s, &job.Notify, job.Extranonce.Extranonce1, extranonce2, job.Version)
	target := difficulty.TargetFromDifficulty(job.Difficulty)
	if _, found := g.hasher.Find(&s, &target, 1<<20); !found {
		return
	}
	hash := s.Hash
	open.Add(1)
	if err := job.Send(client.Share{Extranonce2: extranonce2, NTime: job.NTime, Nonce: s.Nonce}, func(v client.Verdict) {
		defer open.Done()
		r.mu.Lock()
		defer r.mu.Unlock()
		switch {
		case v.Err != nil:
			r.unknown[hash] = true
		case v.Reject == nil:
			r.accepted[hash] = true
			g.accepts.Add(1)
			g.mu.Lock()
			g.times = append(g.times, time.Now())
			g.mu.Unlock()
		case v.Reject.Code == stratum.Duplicate:
			r.unknown[hash] = true
			r.reasons[v.Reject.Text]++
		default:
			r.refusals[hash] = true
			r.reasons[v.Reject.Text]++
		}
	}); err != nil {
		open.Done()
	}
}
