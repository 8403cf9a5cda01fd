package blocks

import (
	"bytes"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/records"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

func TestReadRecordsV1(t *testing.T) {
	records.Check(t, records.V1(t, "candidates"), candidatesVersion, (*candidates).fields)
	var c candidates
	if err := c.read(records.V1(t, "candidates")); err != nil || !c.hashes[[32]byte{3}] || len(c.hashes) != 1 {
		t.Errorf("%v, %v", c.hashes, err)
	}
	records.JSON[blocksRecord](t, records.V1(t, "blocks"))
	table, unsaved, err := readBlocks(records.V1(t, "blocks"))
	want := Block{
		Height: 850000, Hash: work.FormatHash([32]byte{3}), Worker: "bob.rig1", Difficulty: 86388558925171.02, Reward: 312500000,
		Time: time.Unix(1795327613, 0), BlockState: source.BlockState{State: source.BlockConfirmed, Confirmations: 2},
	}
	if err != nil || len(table) != 1 || table[0] != want || len(unsaved) != 1 || unsaved[0].Height != 850001 ||
		unsaved[0].Hash != [32]byte{4} || !bytes.Equal(unsaved[0].Serialised, bytes.Repeat([]byte{0x5a}, 81)) {
		t.Errorf("%+v, %+v, %v", table, unsaved, err)
	}
}

func FuzzReadRecords(f *testing.F) {
	f.Add(records.V1(f, "candidates"))
	f.Add(records.V1(f, "blocks"))
	f.Fuzz(func(t *testing.T, in []byte) {
		_ = new(candidates).read(in)
		_, _, _ = readBlocks(in)
	})
}

// A record that is cut off, or of a newer version, is refused.
func TestDamagedRecords(t *testing.T) {
	records.Damaged(t, "candidates", 0, func(in []byte) error { return new(candidates).read(in) })
	records.Damaged(t, "blocks", 0, func(in []byte) error { _, _, err := readBlocks(in); return err })
}
