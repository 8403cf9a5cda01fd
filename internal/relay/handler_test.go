package relay

import (
	"testing"

	"github.com/ckpool/ckpool/internal/netserver"
)

// A link has room for a million miners, and for no more.
func TestRoom(t *testing.T) {
	l := &link{channels: map[uint32]netserver.Slot{}}
	for id := range uint32(1 << 20) {
		if !l.room() {
			t.Fatalf("no room for miner %d", id)
		}
		l.channels[id] = 0
	}
	if l.room() {
		t.Error("room for more than 1,048,576 miners")
	}
}
