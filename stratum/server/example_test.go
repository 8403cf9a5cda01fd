//go:build linux

package server_test

import (
	"context"
	"fmt"

	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/stratum/client"
	"github.com/ckpool/ckpool/stratum/server"
)

// A pool that stands in for another: it gives one job, and takes shares with an even nonce.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := server.New(server.Handler{
		Authorize: func(s *server.Session, l server.Login) *stratum.Reject {
			fmt.Printf("%s comes with %s\n", l.Worker, s.UserAgent())
			s.SetDifficulty(0.001)
			return nil
		},
		Submit: func(s *server.Session, share *stratum.Submit) *stratum.Reject {
			if share.Nonce%2 != 0 {
				return &stratum.Reject{Code: stratum.LowDifficulty, Text: "The nonce is odd"}
			}
			return nil
		},
	}, server.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := s.Listen(ctx, server.Endpoint{Address: "127.0.0.1:0"}); err != nil {
		fmt.Println(err)
	}
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	job := stratum.Notify{JobID: "1f", Coinb1: []byte{1}, Coinb2: []byte{2}, Version: 0x20000000, Bits: 0x1d00ffff, NTime: 1_231_006_505, Clean: true}
	s.Broadcast(func(b []byte, _ *server.Session) []byte { return job.Append(b) })

	mine(ctx, s.Addrs()[0].String())
	cancel()
	fmt.Println(<-done)
	// Output:
	// bob.rig1 comes with ckpool
	// job 1f, difficulty 0.001
	// accepted
	// The nonce is odd (23)
	// <nil>
}

// mine submits two shares of the first job.
func mine(ctx context.Context, pool string) {
	c, err := client.Dial(ctx, client.Endpoint{URL: pool, User: "bob.rig1"}, client.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	for e := range c.Events() {
		job, ok := e.(client.Notify)
		if !ok {
			continue
		}
		fmt.Printf("job %s, difficulty %v\n", job.JobID, job.Difficulty)
		for nonce := range uint32(2) {
			reject, err := job.Submit(ctx, client.Share{Extranonce2: make([]byte, job.Extranonce.Extranonce2Len), NTime: job.NTime, Nonce: nonce})
			if err != nil {
				fmt.Println(err)
			}
			fmt.Println(reject)
		}
		return
	}
}

// A login that a database is asked about: the loop does not wait for it.
func ExampleSession_Later() {
	lookUp := func(worker, password string) bool { return password == "x" } // takes its time
	h := server.Handler{
		Authorize: func(s *server.Session, l server.Login) *stratum.Reject {
			later := s.Later()
			go func() {
				if lookUp(l.Worker, l.Password) {
					later.Answer(nil)
				} else {
					later.Answer(&stratum.Reject{Code: stratum.Unauthorized, Text: "Wrong password"})
				}
			}()
			return nil
		},
	}
	s, err := server.New(h, server.Options{})
	fmt.Println(err)
	s.Close()
	// Output: <nil>
}
