//go:build linux

// Package server is the pool's side of stratum connections: a server for a pool of one's own,
// for a pool that stands in for another in tests, or for whatever miners are to talk to. It
// stands on the event loops of ckpool: a connection costs no goroutine, a client that does not
// read, or says too much, costs no more than its limits.
//
// A [Server] is made of a [Handler], some functions of which each answers a request. What they
// are given and return are values: a [stratum.Reject] is what a miner is told, nil is yes.
//
//	s, err := server.New(server.Handler{
//		Submit: func(s *server.Session, share *stratum.Submit) *stratum.Reject {
//			return judge(s, share)
//		},
//	}, server.Options{})
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	if err := s.Listen(ctx, server.Endpoint{Address: ":3333"}); err != nil {
//		return err
//	}
//	return s.Run(ctx)
//
// # Work
//
// [Server.Broadcast] gives all sessions that have subscribed and authorized a worker the work,
// and those that come later when they have. It takes a function, which appends the lines for a
// session: the same for all, or the session's own. While a client is slow to read, newer work
// takes the place of older that was not sent yet.
//
// # Goroutines
//
// A server has some loops, by default one for each processor, and each has a goroutine. A session
// stays on the loop that accepted it: all functions that are called with it, and all methods of
// it that do not say otherwise, run on that goroutine, one after another. So what belongs to one
// session ([Session.Value]) needs no lock, and what several sessions share does.
//
// Functions must not block: all other sessions of the loop wait meanwhile. Who has to ask a
// database or another machine calls [Session.Later], and answers from any goroutine. Any
// goroutine reaches a session by [Session.Do].
package server
