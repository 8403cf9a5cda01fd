package session

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// Of a user agent as long as a line only the part that is shown is kept.
func TestLongAgentIsNotKept(t *testing.T) {
	r := newRig(t, nil)
	const miners = 1000
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for i := range 2 * miners {
		slot := r.open()
		r.Line(slot, fmt.Appendf(nil, `{"id":1,"method":"mining.subscribe","params":["%d %s"]}`, i, strings.Repeat("x", 8000)))
		delete(r.out, slot)
		if i == miners-1 {
			before := heap()
			defer func() {
				if grown := (int64(heap()) - int64(before)) / miners; grown > 2000 {
					t.Errorf("%d bytes a miner", grown)
				}
				runtime.KeepAlive(r)
			}()
		}
	}
}
