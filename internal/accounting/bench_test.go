package accounting

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/postgres"
	"github.com/ckpool/ckpool/internal/testkit/wait"
	"github.com/ckpool/ckpool/journal"
)

// BenchmarkCatchUp is how long a database takes for each minute that ckdb was away from
// a pool of 2,000 workers with 5,000 shares a second and a job every 30 seconds, while
// that pool goes on. An hour, which takes 5 GB of disk: -bench CatchUp
// -benchtime 60x -timeout 1h.
func BenchmarkCatchUp(b *testing.B) {
	const rate = 5_000
	server, err := postgres.Start("shared_buffers=512MB", "max_wal_size=4GB") // waits for the disk
	if err != nil {
		b.Skip(err)
	}
	defer os.RemoveAll(server.Dir)
	defer server.Stop()
	databases := 0
	for _, backend := range []struct {
		name  string
		empty func(b *testing.B) string
	}{
		{"sqlite", func(b *testing.B) string { return b.TempDir() }},
		{"postgres", func(b *testing.B) string {
			databases++
			name := fmt.Sprintf("benchmark%d", databases)
			if err := server.Create(b.Context(), name); err != nil {
				b.Fatal(err)
			}
			return server.URL(name)
		}},
	} {
		b.Run(backend.name, func(b *testing.B) {
			p := newPool(b)
			p.options.RingDirs = []string{"/dev/shm"}
			stop := p.run()
			defer stop()
			miners := make([]*journal.Miner, 2_000)
			for i := range miners {
				user := fmt.Sprintf("bcrt1qexampleexampleexampleexampleexam%04d", i/5)
				miners[i] = &journal.Miner{User: user, Worker: fmt.Sprintf("%s.rig%d", user, i%5), Agent: []string{"cgminer/4.12", "bitaxe", "bosminer"}[i%3], Address: "10.0.0.1"}
			}
			random := rand.New(rand.NewPCG(1, 2))
			share := journal.Share{Extranonce1: make([]byte, 4), Extranonce2: make([]byte, 8), Version: 0x20000000}
			var shares atomic.Int64
			tell := func(n int) {
				for range n {
					at := shares.Add(1)
					if at%(30*rate) == 0 {
						p.w.Flush(0)
						p.nextJob()
					}
					worker := random.IntN(len(miners))
					share.Time, share.NTime, share.Job = began+at*1_000_000/rate, uint32(began/1_000_000+at/rate), p.job.ID
					share.Nonce, share.Credit = random.Uint32(), float64(int(512)<<(worker%8))
					share.Difficulty = share.Credit
					binary.LittleEndian.PutUint64(share.Extranonce2, uint64(at))
					binary.LittleEndian.PutUint64(share.Hash[:], random.Uint64())
					binary.LittleEndian.PutUint64(share.Hash[8:], random.Uint64())
					p.w.Share(0, &share, miners[worker])
				}
				p.w.Flush(0)
			}
			for range b.N * 60 {
				tell(rate)
				wait.Until(b, time.Minute, "room in memory", func() bool { return p.w.Status().UnsafeShares < 4*rate })
			}
			s := open(b, backend.empty(b))
			// The pool goes on.
			ctx, cancel := context.WithCancel(b.Context())
			var mining sync.WaitGroup
			mining.Go(func() {
				tick := time.NewTicker(time.Second / 50)
				defer tick.Stop()
				for ctx.Err() == nil {
					tell(rate / 50)
					<-tick.C
				}
			})
			b.ResetTimer()
			f := follow(b, s, p.options.Dir)
			wait.Until(b, time.Hour, "the shares of that time", func() bool { return int64(f.Progress().Shares) > shares.Load()-rate })
			b.StopTimer()
			cancel()
			mining.Wait()
			if lost := p.w.Status().LostShares; lost > 0 {
				b.Errorf("%d shares were lost", lost)
			}
			f.behind()
			f.stop()
			if st := status(b, s); st.Shares != shares.Load() || len(st.Gaps) > 0 {
				b.Errorf("%d shares are stored, want %d; gaps %v", st.Shares, shares.Load(), st.Gaps)
			}
			b.ReportMetric(float64(shares.Load())/b.Elapsed().Seconds(), "shares/s")
		})
	}
}
