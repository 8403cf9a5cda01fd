package blocks

import (
	"testing"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// The program may have been killed between saving a block and noting it.
func TestResumedBlockIsInTheTable(t *testing.T) {
	k := New(Options{LogDir: t.TempDir(), Events: func(e event.Event) {
		if e.Level < event.Debug {
			t.Error(e.Text)
		}
	}})
	hash := [32]byte{7}
	k.table.endRound(work.FormatHash(hash)) // there is no pool that could
	k.resumed(850000, hash, source.BlockState{State: source.BlockConfirmed, Confirmations: 2})
	list := k.List()
	if len(list) != 1 || list[0].Height != 850000 || list[0].Hash != work.FormatHash(hash) || list[0].StateText() != "confirmed 2" {
		t.Errorf("blocks %+v", list)
	}
}
