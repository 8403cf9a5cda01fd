package bitcoind

import (
	"fmt"
	"io"
	"net/http"
	"testing"
)

// The answer that miners wait for goes into memory that was there before, and
// the next one does not go over it.
func TestPrepare(t *testing.T) {
	var n int
	s := httptestServer(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		body := fullTemplate(100 + n)
		if n != 3 { // else chunked
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		}
		n++
		_, _ = w.Write(body)
	})
	c := NewClient(Config{URL: s.URL}, Options{})
	defer c.Close()
	c.Prepare() // nothing is known of the size
	if c.room.Load() != nil {
		t.Error("memory before the first answer")
	}
	for i, prepared := range []bool{false, true, true, true, false} {
		if prepared {
			c.Prepare()
			before := c.room.Load()
			c.Prepare()
			if before == nil || c.room.Load() != before {
				t.Fatalf("answer %d: prepared %p, then %p", i, before, c.room.Load())
			}
		}
		c.ids.Store(0)
		tmpl, err := c.Template(t.Context(), "")
		if err != nil || tmpl.TxCount() != 100+i {
			t.Fatalf("answer %d: %v", i, err)
		}
		if c.room.Load() != nil {
			t.Errorf("answer %d has not used the memory", i)
		}
		if err := tmpl.CheckWitness(); err != nil {
			t.Error(err)
		}
	}
}

// An answer larger than what was prepared is read all the same.
func TestPreparedTooSmall(t *testing.T) {
	small := make([]byte, minPrepared)
	c := NewClient(Config{URL: "http://127.0.0.1:1"}, Options{})
	c.room.Store(&small)
	if b := c.buffer(minPrepared+1, maxTemplate); len(b) != minPrepared+1 {
		t.Errorf("%d bytes", len(b))
	}
	c.room.Store(&small)
	if b := c.buffer(10, maxReply); len(b) != 10 || c.room.Load() == nil {
		t.Error("another answer took the template's memory")
	}
	if b := c.buffer(10, maxTemplate); len(b) != 10 || &b[0] != &small[0] {
		t.Error("the prepared memory was not used")
	}
}
