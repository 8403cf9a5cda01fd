package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/stratum"

	"github.com/google/go-cmp/cmp"
)

// A connection goes on in another process between any two bytes, either way: the pool
// notices nothing, each share gets its answer, no line is lost and none comes twice.
func TestMove(t *testing.T) {
	first := notifyLine("b", true) + "\n" + `{"params":[7],"id":null,"method":"mining.set_difficulty"}` + "\n" + `{"id":3,"result":true}` + "\n"
	for cut := range len(first) + 1 {
		synctest.Test(t, func(t *testing.T) {
			var lines []string
			moved := make(chan struct{})
			p := newPool(t, func(p *peer) {
				p.welcome("a")
				for range 2 {
					p.in.Scan()
					lines = append(lines, p.in.Text())
				}
				p.conn.Write([]byte(first[:cut]))
				<-moved
				p.conn.Write([]byte(first[cut:]))
				for p.in.Scan() {
					lines = append(lines, p.in.Text())
					if len(lines) == 3 {
						p.send(notifyLine("c", false), `{"id":4,"result":null,"error":[21,"Stale",null]}`, `{"id":5,"result":true}`)
					}
				}
			})
			old := mustDial(t, p, Options{AnswerTimeout: 30 * time.Second})
			got := make(verdicts, 100)
			var waiting []uint64
			tell := func(n int) func(Verdict) {
				return func(v Verdict) {
					if errors.Is(v.Err, ErrMoving) {
						waiting = append(waiting, v.ID)
						return
					}
					got.of(n)(v)
				}
			}
			share := Share{Extranonce2: []byte{0, 1}}
			for n := range 2 {
				if err := old.Send("a", share, tell(n+3)); err != nil {
					t.Error(err)
				}
			}
			synctest.Wait()
			if err := old.Suspend(); err != nil {
				t.Fatal(err)
			}
			var events []string
			for e := range old.Events() {
				events = append(events, brief(e))
			}
			if last := events[len(events)-1]; last != "closed: "+ErrMoving.Error() {
				t.Error(last)
			}
			conn, state := old.Suspended()
			if err := old.Send("a", share, tell(9)); !errors.Is(err, ErrMoving) || !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
			old.Close() // which leaves the connection alone
			close(moved)

			m := map[uint64]func(Verdict){}
			for _, id := range waiting {
				m[id] = got.of(int(id))
			}
			c := Resume(conn, state, bob, Options{AnswerTimeout: 30 * time.Second}, m)
			c.Start()
			if err := c.Send("b", share, got.of(5)); err != nil {
				t.Error(err)
			}
			answers := []string{<-got, <-got, <-got}
			if d := cmp.Diff([]string{"3 accepted after 0s", "4 Stale (21)", "5 accepted after 0s"}, answers); d != "" {
				t.Errorf("moved after %d bytes: %s", cut, d)
			}
			if answered := cut == len(first); answered != (len(waiting) == 1) {
				t.Errorf("moved after %d bytes, %d shares wait", cut, len(waiting))
			}
			synctest.Wait()
			c.Close()
			for e := range c.Events() {
				events = append(events, brief(e))
			}
			want := []string{
				"extranonce 7e86026b/8 session s1",
				"notify a clean=true diff=0 mask=00000000 en1=7e86026b",
				"notify b clean=true diff=0 mask=00000000 en1=7e86026b",
				"difficulty 7",
				"notify c clean=false diff=7 mask=00000000 en1=7e86026b",
				"closed: connection closed",
			}
			var told []string
			for _, e := range events {
				if e != "closed: "+ErrMoving.Error() {
					told = append(told, e)
				}
			}
			if d := cmp.Diff(want, told); d != "" {
				t.Errorf("moved after %d bytes: %s", cut, d)
			}
			if len(lines) != 3 || !strings.HasPrefix(lines[2], `{"id":5,"method":"mining.submit"`) {
				t.Errorf("moved after %d bytes, the pool has %q", cut, lines)
			}
		})
	}
}

// What the pool has not taken when the connection moves is written on, from the byte it
// had come to.
func TestMoveOfUnwritten(t *testing.T) {
	var want []byte
	for n := range 3 {
		want = stratum.AppendSubmit(want, fmt.Append(nil, n+3), "bob", "a", nil, 1, 2, 0, false)
	}
	for taken := range len(want) + 1 {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			old := Resume(near, &State{URL: bob.URL, LastID: 2}, bob, Options{}, nil)
			old.Start()
			var got []byte
			var reading sync.WaitGroup
			moved := make(chan struct{})
			reading.Go(func() {
				b := make([]byte, taken)
				for len(got) < taken {
					n, err := far.Read(b[:taken-len(got)])
					if got = append(got, b[:n]...); err != nil {
						t.Error(err)
						return
					}
				}
				<-moved
				rest := make([]byte, 4096)
				for {
					n, err := far.Read(rest)
					if got = append(got, rest[:n]...); err != nil {
						return
					}
				}
			})
			for range 3 {
				if err := old.Send("a", Share{NTime: 1, Nonce: 2}, func(Verdict) {}); err != nil {
					t.Error(err)
				}
			}
			synctest.Wait()
			if err := old.Suspend(); err != nil {
				t.Fatal(err)
			}
			conn, state := old.Suspended()
			close(moved)
			c := Resume(conn, state, bob, Options{}, nil)
			c.Start()
			synctest.Wait()
			c.Close()
			reading.Wait()
			if string(got) != string(want) {
				t.Errorf("%d bytes taken before the move\n got %q\nwant %q", taken, got, want)
			}
		})
	}
}

// A share that waits keeps its time over a move, from then on: a dead line is found.
func TestMovedShareUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		verdict := make(chan Verdict, 1)
		began := time.Now()
		c := Resume(near, &State{URL: bob.URL, LastID: 7}, bob, Options{AnswerTimeout: 30 * time.Second}, map[uint64]func(Verdict){7: func(v Verdict) { verdict <- v }})
		c.Start()
		if v := <-verdict; !errors.Is(v.Err, ErrClosed) || errors.Is(v.Err, ErrMoving) || time.Since(began) != 30*time.Second {
			t.Errorf("%+v after %v", v, time.Since(began))
		}
		c.Close()
		if err := c.Suspend(); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if conn, state := c.Suspended(); conn != nil || state != nil {
			t.Error("a closed connection has a state to move")
		}
	})
}

// A keeper begins with a connection that came along, and makes others after it.
func TestKeeperBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, func(p *peer) { p.expect(resumed); p.welcomed("b"); p.wait() })
		near, far := net.Pipe()
		var got []string
		k := NewKeeper(bob, Options{Dial: p.dial}, func(_ *Client, e Event) error {
			got = append(got, brief(e))
			return nil
		})
		s := &State{URL: bob.URL, Extranonce: stratum.Extranonce{SessionID: "s1", Extranonce1: []byte{1}, Extranonce2Len: 4}}
		k.Begin(Resume(near, s, bob, Options{}, nil), s)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { k.Run(ctx) })
		fmt.Fprintln(far, notifyLine("a", true))
		synctest.Wait()
		far.Close()
		time.Sleep(5 * time.Second)
		cancel()
		running.Wait()
		want := []string{"notify a clean=true diff=0 mask=00000000 en1=01", "closed: closed by the pool", "failed 0: closed by the pool",
			"extranonce 7e86026b/8 session s1", "notify b clean=true diff=0 mask=00000000 en1=7e86026b", "closed: context canceled"}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
}

// A keeper that is to end before it has begun ends the connection that came along: nobody else
// has it.
func TestKeeperEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		var got []string
		k := NewKeeper(bob, Options{}, func(_ *Client, e Event) error {
			got = append(got, brief(e))
			return nil
		})
		s := &State{URL: bob.URL, LastID: 7}
		heard := make(chan Verdict, 1)
		k.Begin(Resume(near, s, bob, Options{}, map[uint64]func(Verdict){7: func(v Verdict) { heard <- v }}), s)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		k.Run(ctx)
		if d := cmp.Diff([]string{"closed: context canceled"}, got); d != "" {
			t.Error(d)
		}
		_ = far.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the pool reads %v", err)
		}
		select {
		case v := <-heard:
			if !errors.Is(v.Err, ErrClosed) {
				t.Errorf("%+v", v)
			}
		default:
			t.Error("nothing is heard of a share that waits")
		}
	})
}

// A connection that was not started is let go of without a byte read or written: another
// process goes on with it.
func TestResumedNotStarted(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	file, err := near.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	own, err := net.FileConn(file)
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(far, notifyLine("a", true))
	c := Resume(own, &State{URL: bob.URL, Unwritten: []byte("unwritten")}, bob, Options{}, map[uint64]func(Verdict){1: func(v Verdict) {
		t.Errorf("a verdict of the other process's share: %+v", v)
	}})
	c.End(ErrMoving)
	fmt.Fprintln(near, "written there")
	_ = far.SetDeadline(time.Now().Add(10 * time.Second))
	if line, err := bufio.NewReader(far).ReadString('\n'); line != "written there\n" {
		t.Errorf("the pool reads %q, %v", line, err)
	}
	_ = near.SetDeadline(time.Now().Add(10 * time.Second))
	if line, err := bufio.NewReader(near).ReadString('\n'); line != notifyLine("a", true)+"\n" {
		t.Errorf("the other process reads %q, %v", line, err)
	}
}

// noDeadline is a connection that cannot be stopped.
type noDeadline struct{ net.Conn }

var errNoDeadline = errors.New("no deadline")

func (noDeadline) SetDeadline(time.Time) error { return errNoDeadline }

// A connection that cannot be suspended is as it was.
func TestSuspendFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := Resume(noDeadline{near}, &State{URL: bob.URL, LastID: 2}, bob, Options{}, nil)
		c.Start()
		if err := c.Suspend(); !errors.Is(err, errNoDeadline) {
			t.Error(err)
		}
		in := bufio.NewScanner(far)
		heard := make(chan Verdict, 1)
		if err := c.Send("a", Share{}, func(v Verdict) { heard <- v }); err != nil {
			t.Fatal(err)
		}
		in.Scan()
		fmt.Fprintln(far, `{"id":3,"result":true}`)
		if v := <-heard; v.Err != nil || v.Reject != nil {
			t.Errorf("%+v", v)
		}
		c.Close()
		if conn, _ := c.Suspended(); conn != nil {
			t.Error("it is suspended after all")
		}
	})
}
