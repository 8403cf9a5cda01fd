package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/authority"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/journal"
	"github.com/ckpool/ckpool/poolproto"
)

// A main pool that is ckpool in C acknowledges nothing and keeps no journal: it is told of
// shares as they come to the journal, from where the last link has come on, and asked about
// each login. What was on its way when a link was lost is lost; nothing is said twice.

// writeC sends shares as ckpool in C does, and all else that is to be sent.
func (w *wire) writeC(ctx context.Context) error {
	o := &w.reporter.options
	cursor, err := journal.ReadCursor(o.Journal, readBy)
	if err != nil {
		return err
	}
	r, err := journal.Open(o.Journal, cursor)
	if err != nil {
		return err
	}
	defer r.Close()
	w.agreed = true
	w.reporter.say(event.Warning, "is linked, as ckpool in C: what is on its way when the link is lost is not counted there")
	return w.report(ctx, said{
		shares:  func() (more bool, err error) { return w.sharesC(r) },
		workers: w.workersC,
		ping:    func() { w.queue([]byte(`{"method":"`+poolproto.RemotePing+`"}`+"\n"), false) },
	})
}

// sharesC sends some shares of the journal; more tells that there may be others.
func (w *wire) sharesC(r *journal.Reader) (more bool, err error) {
	var b []byte
	for len(b) < readSize {
		k, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, err
		}
		if sh := &k.Share; k.Kind == journal.KindShare && k.Miner != nil && sh.Difficulty > 0 {
			line := poolproto.RemoteShareLine{
				Job: sh.Job, Worker: k.Miner.Worker, User: k.Miner.User, Agent: k.Miner.Agent, Difficulty: sh.Difficulty, Achieved: sh.Achieved(), Hash: sh.Hash,
				Accepted: k.Reason == "accepted", Reason: k.Reason, Extranonce1: sh.Extranonce1, Extranonce2: sh.Extranonce2, Nonce: sh.Nonce, NTime: sh.NTime,
			}
			if line.Accepted {
				line.Difficulty = sh.Credit
			} else if reason, known := session.ReasonNamed(k.Reason); known {
				line.Reason = reason.Reject().Text
			}
			if line.Difficulty > 0 { // one that earns nothing is no share there
				b = line.Append(b, k.Miner.Address)
			}
		}
		more = true
	}
	w.mu.Lock()
	w.kept = r.Cursor()
	w.mu.Unlock()
	if len(b) == 0 {
		return more, nil
	}
	_ = w.conn.SetWriteDeadline(time.Now().Add(writeTime))
	_, err = w.conn.Write(b)
	return more, err
}

// workersC is workers as ckpool in C says it.
func (w *wire) workersC(said map[string]int) map[string]int {
	now := w.reporter.options.Workers()
	var b []byte
	for user, n := range now {
		b = poolproto.AppendRemoteWorkers(b, user, n)
	}
	for user := range said {
		if now[user] == 0 {
			b = poolproto.AppendRemoteWorkers(b, user, 0)
		}
	}
	w.queue(b, false)
	return now
}

// lineC handles a line of ckpool in C.
func (w *wire) lineC(line []byte) {
	if method, err := poolproto.RemoteMethod(line); err != nil || method != poolproto.RemoteResult {
		return // its work and its blocks, which its own nodes have
	}
	client, refused, err := poolproto.ParseRemoteResult(line)
	if err != nil {
		return
	}
	w.mu.Lock()
	done := w.logins[client]
	delete(w.logins, client)
	w.mu.Unlock()
	if done != nil {
		done <- refused
	}
}

// answerC answers questions on conn by asking a main pool that is ckpool in C.
func (w *wire) answerC(ctx context.Context, conn *net.UnixConn) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	authority.NewServer(asksC{wire: w}, "ckpool in C", w.reporter.options.Events).Serve(ctx, conn)
}

// asksC is the accounts of a main pool that is ckpool in C.
type asksC struct {
	anybody
	wire *wire
}

// Find implements authority.Accounts.
func (a asksC) Find(ctx context.Context, q authority.Question) (authority.Account, error) {
	w := a.wire
	done := make(chan bool, 1)
	w.mu.Lock()
	if w.logins == nil {
		w.logins = map[int64]chan bool{}
	}
	w.client++
	client := w.client
	w.logins[client] = done
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.logins, client)
		w.mu.Unlock()
	}()
	l := poolproto.RemoteLogin{Worker: q.Worker, Password: q.Password, ID: fmt.Append(nil, client), Agent: q.UserAgent, Address: q.Remote, Client: client}
	w.queue(l.Append(nil), false)
	select {
	case refused := <-done:
		return authority.Account{Registered: !refused}, nil
	case <-ctx.Done():
		return authority.Account{}, errors.New("the main pool does not answer")
	}
}
