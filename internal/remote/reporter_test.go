package remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/internal/journalwriter"
	"github.com/ckpool/ckpool/poolproto"
)

// While there are shares to be sent without an end, as after a long time without a link, the main
// pool is asked for signs of life all the same, and what miners wait for goes out.
func TestSharesHoldNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		heard := make(chan string, 1)
		go func() {
			line, _ := bufio.NewReader(theirs).ReadString('\n')
			heard <- line
		}()
		w := &wire{reporter: &Reporter{}, conn: ours, wake: make(chan struct{}, 1)}
		enough := errors.New("there are no more shares")
		pings, began := 0, time.Now()
		err := w.report(t.Context(), said{
			shares: func() (more bool, err error) {
				if time.Since(began) == 0 {
					w.queue([]byte("a login\n"), false)
				}
				if time.Since(began) > deadAfter {
					return false, enough
				}
				time.Sleep(10 * time.Millisecond)
				return true, nil
			},
			workers: func(map[string]int) map[string]int { return nil },
			ping:    func() { pings++ },
		})
		if !errors.Is(err, enough) {
			t.Error(err)
		}
		if pings < 2 {
			t.Errorf("%d pings in %v", pings, deadAfter)
		}
		ours.Close()
		if line := <-heard; line != "a login\n" {
			t.Errorf("%q is heard instead of a login", line)
		}
		theirs.Close()
	})
}

// A miner chooses its name, with an end of line in it if it likes: that does not make it say
// lines of the link, which the main pool would take for the remote's, or close the link for.
func TestWorkersSayNoLines(t *testing.T) {
	connected := map[string]int{"bob": 2, "mallory\na 1 ": 1, "x\n": 1, "\nn 99 bob": 1}
	w := &wire{reporter: NewReporter(ReporterOptions{Workers: func() map[string]int { return connected }}), wake: make(chan struct{}, 1)}
	said := map[string]int{}
	hear := func() {
		t.Helper()
		for line := range bytes.Lines(w.out) {
			f, err := poolproto.ParseFrame(bytes.TrimSuffix(line, []byte("\n")))
			if err != nil || f.Kind != poolproto.Workers {
				t.Fatalf("%q: %v", line, err)
			}
			said[string(f.Text)] = int(f.Number)
		}
		w.out = nil
	}
	before := w.workers(nil)
	if hear(); fmt.Sprint(said) != "map[bob:2]" {
		t.Errorf("%v", said)
	}
	connected = map[string]int{"\n": 1}
	w.workers(before)
	if hear(); fmt.Sprint(said) != "map[bob:0]" {
		t.Errorf("%v when all have left", said)
	}
}

// A block that was found while there was no link is brought over the next one, behind the line
// that says whose it is: a main pool ends a link that begins with anything else.
func TestBlocksBehindTheJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		r := NewReporter(ReporterOptions{
			Name: "asia", Network: func() string { return "main" },
			Status: func() (journalwriter.Status, bool) {
				return journalwriter.Status{Instance: strings.Repeat("0f", 16)}, true
			},
		})
		found := func(hash string) {
			r.Found(&poolproto.WholeBlock{Hash: strings.Repeat(hash, 32), Name: "asia", Block: make([]byte, 81)})
		}
		found("aa")
		w := &wire{reporter: r, conn: ours, dialect: 1, read: bufio.NewReader(ours), wake: make(chan struct{}, 1), place: make(chan poolproto.RemotePlace, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			_ = w.serve(ctx) // that it was ended
			close(ended)
		}()
		in := bufio.NewReader(theirs)
		next := func(want string) {
			t.Helper()
			line := "p\n"
			for line == "p\n" {
				var err error
				if line, err = in.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
			if !strings.HasPrefix(line, want) {
				t.Errorf("%.100q, want %q", line, want)
			}
		}
		next("j ")
		next(`z {"height":0,"hash":"aaaa`)
		found("bb")
		next(`z {"height":0,"hash":"bbbb`)
		cancel()
		theirs.Close()
		<-ended
	})
}

// Where blocks are easy, those that are kept for the next link are not more than that takes.
func TestBlocksKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewReporter(ReporterOptions{})
		big := &poolproto.WholeBlock{Block: make([]byte, blocksMost/5)} // and twice as much in hex
		for range 5 {
			r.Found(big)
		}
		if n := len(r.blocks); n != 2 {
			t.Errorf("%d blocks are kept, want 2", n)
		}
		time.Sleep(BlockTime + time.Second)
		r.Found(&poolproto.WholeBlock{})
		if n := len(r.blocks); n != 1 {
			t.Errorf("%d blocks are kept for longer than that", n-1)
		}
	})
}
