package relay

import (
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
)

// Where the clock is set back, miners that were asked to connect again are closed when they
// would have been, as are those that do not log in.
func TestClockSetBack(t *testing.T) {
	const asked = 1795327613
	h := &EdgeHandler{edge: &Edge{}, byID: map[uint32]netserver.Slot{}, slabs: []*[chunkSize]edgeMiner{new([chunkSize]edgeMiner)}}
	h.Tick(time.Unix(asked, 0))
	h.fresh = []newcomer{{7, asked + 65}, {8, asked + 66}}
	*h.miner(3) = edgeMiner{id: 9, told: asked, past: &past{}}
	h.told = []netserver.Slot{3}
	h.Tick(time.Unix(asked+1, 0))
	if h.miner(3).told != asked {
		t.Errorf("it was asked at %d", h.miner(3).told)
	}
	const back = 3600
	h.Tick(time.Unix(asked+2-back, 0))
	if told := h.miner(3).told; told > asked+2-back || told < asked-1-back {
		t.Errorf("it was asked %d s ago, and it is 2 s", asked+2-back-told)
	}
	h.miner(3).told, h.told = 0, nil
	if h.Tick(time.Unix(asked+62-back, 0)); len(h.fresh) != 2 {
		t.Errorf("%d of 2 may still log in after a minute", len(h.fresh))
	}
	if h.Tick(time.Unix(asked+70-back, 0)); len(h.fresh) != 0 {
		t.Errorf("%d may still log in", len(h.fresh))
	}
}
