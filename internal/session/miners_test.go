package session

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
)

// nobody is the handler of a loop without connections.
type nobody struct{}

func (nobody) Open(netserver.Slot, netip.AddrPort, int) {}
func (nobody) Line(netserver.Slot, []byte)              {}
func (nobody) TooLong(netserver.Slot)                   {}
func (nobody) Closed(netserver.Slot, netserver.Reason)  {}
func (nobody) Flush()                                   {}
func (nobody) Step() bool                               { return false }
func (nobody) Tick(time.Time)                           {}

// A list for people has an end. That by which miners are moved to another pool has none: those
// behind it would be left without work.
func TestEverySession(t *testing.T) {
	r := newRig(t, nil)
	const sessions = MaxListed + 1000
	for n := range netserver.Slot(sessions) {
		if n%slabSize == 0 {
			r.slabs = append(r.slabs[:n/slabSize], new([slabSize]session))
		}
		r.session(n).client = uint64(n + 1)
	}
	r.top = sessions
	server, err := netserver.New(netserver.Config{Loops: 1, Descriptors: 256}, func(*netserver.Loop) netserver.Handler { return nobody{} })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	m := Miners{Loops: server.Loops(), Handlers: []*Handler{r.Handler}}
	shown, err := m.Sessions(ctx, func(WorkerID) bool { return true })
	if err != nil || len(shown) != MaxListed {
		t.Errorf("%d are shown, want %d; %v", len(shown), MaxListed, err)
	}
	every, err := m.Every(ctx)
	if err != nil || len(every) != sessions {
		t.Errorf("%d of %d may be moved, %v", len(every), sessions, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
