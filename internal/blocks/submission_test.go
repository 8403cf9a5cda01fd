package blocks

import (
	"testing"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// The program may have been killed between saving a block and noting it.
func TestResumedBlockIsInTheTable(t *testing.T) {
	told := 0
	k := New(Options{LogDir: t.TempDir(), Events: func(e event.Event) {
		if e.Level < event.Debug {
			t.Error(e.Text)
		}
		told++
	}})
	hash := [32]byte{7}
	k.resumed(850000, hash, source.BlockState{State: source.BlockPending})
	if told != 1 {
		t.Errorf("it was told %d times that there is a block", told)
	}
	k.table.endRound(work.FormatHash(hash)) // there is no pool that could
	k.resumed(850000, hash, source.BlockState{State: source.BlockConfirmed, Confirmations: 2})
	list := k.List()
	if len(list) != 1 || list[0].Height != 850000 || list[0].Hash != work.FormatHash(hash) || list[0].StateText() != "confirmed 2" {
		t.Errorf("blocks %+v", list)
	}
}

// A block of another pool that was submitted here too is none of this pool's after a restart
// either: no round ends with it, and the table does not have it. One in the table is.
func TestResumedBlockOfAnotherPool(t *testing.T) {
	theirs, own := [32]byte{7}, [32]byte{8}
	var asked []string
	k := New(Options{
		LogDir: t.TempDir(), Elsewhere: func(hash string, s source.BlockState) bool {
			asked = append(asked, hash+" "+s.State)
			return true
		},
		Events: func(e event.Event) {
			if e.Level < event.Debug {
				t.Error(e.Text)
			}
		},
	})
	k.table.add(Block{Height: 850001, Hash: work.FormatHash(own), Worker: "bob"})
	k.table.endRound(work.FormatHash(own)) // there is no pool that could
	for _, hash := range [][32]byte{theirs, own} {
		k.resumed(850000, hash, source.BlockState{State: source.BlockConfirmed, Confirmations: 2})
	}
	list := k.List()
	if len(list) != 1 || list[0].Hash != work.FormatHash(own) || list[0].StateText() != "confirmed 2" {
		t.Errorf("blocks %+v", list)
	}
	if len(asked) != 1 || asked[0] != work.FormatHash(theirs)+" confirmed" {
		t.Errorf("asked about %q", asked)
	}
}
