package work

import (
	"math"
	"testing"
	"time"

	"github.com/ckpool/ckpool/difficulty"
)

func TestVersion(t *testing.T) {
	for _, tt := range []struct {
		name                     string
		template, mask, required uint32
		wantVersion, wantMask    uint32
	}{
		{"as it is", 0x20000000, 0x1fffe000, 0, 0x20000000, 0x1fffe000},
		{"the mask's bits are cleared", 0x2000e004, 0x1fffe000, 0, 0x20000004, 0x1fffe000},
		{"a required bit stays", 0x2000e004, 0x1fffe000, 0x4000, 0x20004004, 0x1fffa000},
		{"no mask", 0x2000e004, 0, 0, 0x2000e004, 0},
	} {
		b := newBuilder(t)
		b.VersionMask = tt.mask
		j := b.mustJob(t, newGBT().with("version", tt.template, "vbrequired", tt.required).parse(t))
		if j.Version != tt.wantVersion || j.Mask != tt.wantMask {
			t.Errorf("%s: version %08x, mask %08x", tt.name, j.Version, j.Mask)
		}
	}
}

func TestTimeWindow(t *testing.T) {
	const cur = 1795327613
	for _, tt := range []struct {
		name             string
		cur, min         uint32
		now              int64
		wantMin, wantMax uint32
	}{
		{"curtime is the node's clock", cur, cur - 100, cur, cur - 100, cur + 6600},
		{"we are behind the node", cur, cur - 100, cur - 5000, cur - 100, cur + 6600},
		{"the template is older", cur, cur - 100, cur + 300, cur - 100, cur + 6900},
		{"much older", cur, cur - 100, cur + 86400, cur - 100, cur + 7000},
		{"curtime is ahead of all clocks", cur, cur, cur - 1000, cur, cur + 5600},
		{"and farther than blocks may be", cur, cur, cur - 7100, cur, cur},
		{"curtime is behind mintime", cur, cur + 500, cur, cur + 500, cur + 6600},
		{"end of time", math.MaxUint32 - 5, 1, math.MaxUint32, 1, math.MaxUint32},
	} {
		tmpl := newGBT().with("curtime", tt.cur, "mintime", tt.min).parse(t)
		j, err := newBuilder(t).Job(tmpl, 1, time.Unix(tt.now, 0), nil)
		if err != nil {
			t.Fatal(err)
		}
		if first := tmpl.CurTime; first < j.NTimeMin || first > j.NTimeMax {
			t.Errorf("%s: miners get %d as time, and may send %d to %d", tt.name, first, j.NTimeMin, j.NTimeMax)
		}
		if j.NTimeMin != tt.wantMin || j.NTimeMax != tt.wantMax {
			t.Errorf("%s: %d to %d, want %d to %d", tt.name, j.NTimeMin, j.NTimeMax, tt.wantMin, tt.wantMax)
		}
	}
}

// Whatever the mask, and the bits under it that a miner sets, the header's version
// is one that nodes take: as a signed number at least 4 (BIP65), and 001 on top
// (BIP9).
func TestVersionIsValid(t *testing.T) {
	for _, mask := range []uint32{0, 0x1fffe000, 0x3fffe000, 0x20000000, 0xe0000000, 0xffffffff} {
		for _, required := range []uint32{0, 0x2000, 0x20000000} {
			b := newBuilder(t)
			b.VersionMask = mask
			j := b.mustJob(t, newGBT().with("vbrequired", required).parse(t))
			if want := mask & 0x1fffffff &^ required; j.Mask != want {
				t.Errorf("mask %08x with %08x required: %08x, want %08x", mask, required, j.Mask, want)
			}
			for _, bits := range []uint32{0, 0x1fffe000, 0xffffffff} {
				if version := j.Version | bits&j.Mask; int32(version) < 4 || version>>29 != 1 {
					t.Errorf("mask %08x, bits %08x: version %08x", mask, bits, version)
				}
			}
		}
	}
}

func TestJobTarget(t *testing.T) {
	j := newBuilder(t).mustJob(t, newGBT().with("bits", "17034219").parse(t))
	want, err := difficulty.TargetFromBits(0x17034219)
	if err != nil || j.Target != want || j.Template.Target != want {
		t.Errorf("target %x, want %x, %v", j.Target, want, err)
	}
	if math.Abs(j.NetworkDifficulty/86388558925171.02-1) > 1e-15 {
		t.Errorf("network difficulty %v", j.NetworkDifficulty)
	}
}
