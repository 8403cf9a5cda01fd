package store

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store/table"
	"github.com/ckpool/ckpool/internal/testkit/postgres"
)

// stream makes batches of shares of so many workers as a pool has them: 5,000 a
// second, a job every 30 seconds.
type stream struct {
	in      Instance
	at      Position
	workers []Worker
	random  *rand.Rand
}

func newStream(in Instance, workers int) *stream {
	s := &stream{in: in, random: rand.New(rand.NewPCG(1, 2))}
	for i := range workers {
		s.workers = append(s.workers, Worker{Address, fmt.Sprintf("bcrt1q%d", i/5), fmt.Sprintf("rig%d", i%5)})
	}
	return s
}

func (s *stream) batch(n int) *Batch {
	b := &Batch{Instance: s.in.ID, From: s.at, Agents: []string{"cgminer/4.12", "bitaxe", "bosminer"}, Shares: make([]Share, n)}
	index := map[int]int32{} // of the workers that have shares
	to := Position{Epoch: 1, Number: s.at.Number}
	for i := range b.Shares {
		to.Number++
		t := to.Number / 5000
		job := uint64(1 + t/30)
		if to.Number%150_000 == 1 || to.Number == 1 {
			b.Jobs = append(b.Jobs, Job{Number: to.Number, ID: job, Height: 800_000 + int64(job)/20, NTime: uint32(started / 1_000_000), Created: started + t*1_000_000})
		}
		v := &b.Shares[i]
		worker := s.random.IntN(len(s.workers))
		if _, ok := index[worker]; !ok {
			index[worker] = int32(len(b.Workers))
			b.Workers = append(b.Workers, s.workers[worker])
		}
		*v = Share{Number: to.Number, Received: started + to.Number*200, NTime: uint32(started/1_000_000 + t), Worker: index[worker], Agent: int32(worker % 3), Job: job,
			Credit: difficulty.ExactOf(float64(int(512) << (worker % 8))), Achieved: difficulty.ExactOf(512 / s.random.Float64())}
		binary.LittleEndian.PutUint64(v.Hash[:], s.random.Uint64())
		binary.LittleEndian.PutUint64(v.Hash[8:], s.random.Uint64())
	}
	b.To, b.At = to, started+to.Number*200
	s.at = to
	return b
}

// BenchmarkApply measures shares per second, and as a floor the same rows of shares
// inserted by the same statements, with nothing else.
func BenchmarkApply(b *testing.B) {
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
		for _, workers := range []int{200, 100_000} {
			for _, size := range []int{1_000, 10_000, 50_000} {
				if size == 1_000 && workers > size {
					continue
				}
				for _, bare := range []bool{true, false} {
					name := fmt.Sprintf("%s/workers=%d/batch=%d/bare=%t", backend.name, workers, size, bare)
					b.Run(name, func(b *testing.B) {
						s, in := registered(b, backend.empty(b), 1)
						from := newStream(in, workers)
						// Names, tables and the first folds are there.
						for n := 0; n < 2*workers; n += 50_000 {
							apply(b, s, from.batch(50_000))
						}
						shareCount := 0
						b.ResetTimer()
						b.StopTimer()
						for range b.N {
							v := from.batch(size)
							b.StartTimer()
							if bare {
								insertBare(b, s, v)
							} else {
								apply(b, s, v)
							}
							b.StopTimer()
							shareCount += size
						}
						b.ReportMetric(float64(shareCount)/b.Elapsed().Seconds(), "shares/s")
						b.ReportMetric(0, "ns/op")
					})
				}
			}
		}
	}
}

func insertBare(b *testing.B, s *Store, v *Batch) {
	a := &application{Batch: v, store: s, instance: 1}
	if err := s.makeDays(b.Context(), v); err != nil {
		b.Fatal(err)
	}
	if err := s.db.Write(b.Context(), func(tx table.Tx) error {
		a.tx = tx
		if err := a.resolve(b.Context()); err != nil {
			return err
		}
		_, err := a.putShares(b.Context())
		return err
	}); err != nil {
		b.Fatal(err)
	}
}
