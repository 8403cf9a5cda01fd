package remote

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

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
