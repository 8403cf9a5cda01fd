package remote

import (
	"bufio"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
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
