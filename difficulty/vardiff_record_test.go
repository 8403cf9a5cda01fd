package difficulty

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

// A measurement that was moved decides as the one that stayed.
func TestVardiffRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var v Vardiff
		l := Limits{Min: 1e-9}
		now, cur := 1.0, 1.0
		v.Start(now)
		step := func(v *Vardiff, share bool, now float64) Decision {
			if share {
				return v.Share(now, cur, cur, l)
			}
			return v.Idle(now, cur, l)
		}
		for range rapid.IntRange(0, 200).Draw(t, "before") {
			now += rapid.Float64Range(0, 30).Draw(t, "pause")
			step(&v, rapid.Bool().Draw(t, "share"), now)
		}
		record, err := v.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var moved Vardiff
		if err := moved.UnmarshalBinary(record); err != nil {
			t.Fatal(err)
		}
		if moved != v {
			t.Fatalf("%+v\nwant\n%+v", moved, v)
		}
		for range 100 {
			now += rapid.Float64Range(0, 30).Draw(t, "pause")
			share := rapid.Bool().Draw(t, "share")
			if g, w := step(&moved, share, now), step(&v, share, now); g != w {
				t.Fatalf("decides %+v, want %+v", g, w)
			}
		}
	})
}

// The first version of the record is read for ever; the file is never made
// anew.
func TestReadVardiffV1(t *testing.T) {
	record, err := os.ReadFile(filepath.Join("testdata", "handover", "v1", "vardiff"))
	if err != nil {
		t.Fatal(err)
	}
	var v Vardiff
	if err := v.UnmarshalBinary(record); err != nil {
		t.Fatal(err)
	}
	want := Vardiff{origin: 12.5, changed: 300.25, decayed: 301, avg15: 1.5, avg60: 2.5, avg300: 3.5, pending: 4.5, shares: 71, measuring: true, idle: 2, recovering: true}
	if v != want {
		t.Errorf("%+v\nwant\n%+v", v, want)
	}
	if again, _ := v.AppendBinary(nil); !bytes.Equal(again, record) {
		t.Errorf("written as\n%x\nwas\n%x", again, record)
	}
	// Later releases may add fields, and read this one without them.
	if err := v.UnmarshalBinary(append(record, 1, 2, 3)); err != nil || v != want {
		t.Errorf("of a later release: %+v, %v", v, err)
	}
	later := vardiffRecord{at: 1, reading: true}
	copy(later.b[:], record)
	if v.fields(&later); v != want || later.four(99) != 0 {
		t.Errorf("by a later release: %+v", v)
	}
}

func FuzzVardiffRecord(f *testing.F) {
	b, _ := new(Vardiff).AppendBinary(nil)
	f.Add(b)
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, in []byte) {
		var v Vardiff
		if v.UnmarshalBinary(in) != nil {
			return
		}
		out, _ := v.AppendBinary(nil)
		var again Vardiff
		if err := again.UnmarshalBinary(out); err != nil || again != v {
			t.Errorf("%+v, %v; want %+v", again, err, v)
		}
		in = in[:len(out)] // what this release knows
		if in[len(in)-1] <= 1 && in[len(in)-3] <= 1 && !bytes.Equal(in, out) {
			t.Errorf("%x became %x", in, out)
		}
	})
}

// A record that is cut off, or of a newer version, is refused.
func TestDamagedVardiffRecord(t *testing.T) {
	good, err := os.ReadFile(filepath.Join("testdata", "handover", "v1", "vardiff"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if new(Vardiff).UnmarshalBinary(good[:n]) == nil {
			t.Errorf("the first %d of %d bytes are taken for all", n, len(good))
		}
	}
	good[0] = 2
	if new(Vardiff).UnmarshalBinary(good) == nil {
		t.Error("version 2 is taken")
	}
}
