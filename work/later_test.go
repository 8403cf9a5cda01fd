package work

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/ckpool/ckpool/difficulty"
)

// A template of later has all of the first but its time.
func TestTemplateLater(t *testing.T) {
	now := time.Unix(1795327613, 0)
	first := &Template{
		Height: 850000, Version: 0x20000000, PrevHash: [32]byte{1}, Bits: 0x1d00ffff, CurTime: uint32(now.Unix()), MinTime: uint32(now.Unix()) - 100,
		CoinbaseValue: 312500000, Flags: []byte{1}, Target: difficulty.Target{2}, HasCommitment: true, DefaultCommitment: []byte{3},
		VBRequired: 4, LongPollID: "id", Rules: []string{"segwit"}, computed: []byte{5}, branch: [][32]byte{{6}}, CoinbaseWeight: 7, CoinbaseSigops: 8, given: &GivenCoinbase{Pad: 9},
	}
	first.txs.Store(&transactions{})
	later := first.Later(1800)
	if later.CurTime != first.CurTime+1800 {
		t.Errorf("time %d, was %d", later.CurTime, first.CurTime)
	}
	if later.txs.Load() != first.txs.Load() {
		t.Error("other transactions")
	}
	a, b := reflect.ValueOf(first).Elem(), reflect.ValueOf(later).Elem()
	for i := range a.NumField() {
		name := a.Type().Field(i).Name
		if name == "CurTime" || name == "txs" {
			continue
		}
		if a.Field(i).IsZero() {
			t.Errorf("%s is not set here", name)
		}
		if x, y := fmt.Sprint(a.Field(i)), fmt.Sprint(b.Field(i)); x != y {
			t.Errorf("%s is %s, was %s", name, y, x)
		}
	}
	if end := (&Template{CurTime: 1<<32 - 10}).Later(100).CurTime; end != 1<<32-1 {
		t.Errorf("time %d", end)
	}
}
