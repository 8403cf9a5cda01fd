package work

import (
	"math"
	"strings"
	"testing"
	"time"

	"ckpool/difficulty"
	"ckpool/stratum"
)

func TestVersionBits(t *testing.T) {
	for _, tt := range []struct {
		name                      string
		template, mask, required  uint32
		wantVersion, wantMask     uint32
		sessionMask, bits, rolled uint32
		hasBits                   bool
	}{
		{"nothing rolled", 0x20000000, 0x1fffe000, 0, 0x20000000, 0x1fffe000, 0x1fffe000, 0, 0x20000000, false},
		{"rolled", 0x20000000, 0x1fffe000, 0, 0x20000000, 0x1fffe000, 0x1fffe000, 0x00c0a000, 0x20c0a000, true},
		{"the mask's bits are cleared", 0x2000e004, 0x1fffe000, 0, 0x20000004, 0x1fffe000, 0x1fffe000, 0x2000, 0x20002004, true},
		{"a required bit stays", 0x2000e004, 0x1fffe000, 0x4000, 0x20004004, 0x1fffa000, 0x1fffa000, 0x2000, 0x20006004, true},
		{"bits replace", 0x20004000, 0x1fffe000, 0x4000, 0x20004000, 0x1fffa000, 0x1fffe000, 0x2000, 0x20002000, true},
		{"only under the session's mask", 0x20000000, 0x1fffe000, 0, 0x20000000, 0x1fffe000, 0x00006000, 0xffffffff, 0x20006000, true},
		{"no mask", 0x2000e004, 0, 0, 0x2000e004, 0, 0, 0, 0x2000e004, true},
	} {
		b := newBuilder(t)
		b.VersionMask = tt.mask
		j := b.mustJob(t, newGBT().with("version", tt.template, "vbrequired", tt.required).parse(t))
		if j.Version != tt.wantVersion || j.Mask != tt.wantMask {
			t.Errorf("%s: version %08x, mask %08x", tt.name, j.Version, j.Mask)
		}
		var sh Share
		j.Hash(&sh, limitUnknown, nil, make([]byte, 4), &stratum.Submit{Extranonce2Len: 8, VersionBits: tt.bits, HasVersionBits: tt.hasBits}, tt.sessionMask)
		if got := le32(sh.Header[:]); got != tt.rolled {
			t.Errorf("%s: header has version %08x, want %08x", tt.name, got, tt.rolled)
		}
		if !strings.Contains(string(j.Notify(limitUnknown, false)), `],"`+string(appendHex32(nil, tt.wantVersion))+`",`) {
			t.Errorf("%s: %s", tt.name, j.Notify(limitUnknown, false))
		}
	}
}

func le32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
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
		j, err := newBuilder(t).Job(tmpl, 1, time.Unix(tt.now, 0))
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

// Whatever the mask and the bits a miner sends, the header's version is one
// that nodes take: as a signed number at least 4 (BIP65), and 001 on top (BIP9).
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
				for _, has := range []bool{false, true} {
					var share Share
					s := &stratum.Submit{Extranonce2Len: 8, NTime: j.Template.CurTime, HasVersionBits: has, VersionBits: bits}
					j.Hash(&share, limitUnknown, nil, []byte{1, 2, 3, 4}, s, j.Mask)
					if version := le32(share.Header[:4]); int32(version) < 4 || version>>29 != 1 {
						t.Errorf("mask %08x, bits %08x: version %08x", mask, bits, version)
					}
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

// withoutMark cuts out what a mark changes: the nanoseconds before the push of
// the extranonces.
func withoutMark(line string) string {
	end := strings.Index(line, `0c","`) // 12 bytes of extranonces
	return line[:end-8] + line[end:]
}

func TestNotifySuffix(t *testing.T) {
	pool := newBuilder(t).mustJob(t, vectorTemplate(t))
	b := newBuilder(t)
	payout := b.PayoutScript
	b.PayoutScript = nil
	solo := b.mustJob(t, vectorTemplate(t))

	for _, tt := range []struct {
		suffix uint8
		id     string
	}{{0, "6b02867d00000001"}, {1, "6b02867d0000000101"}, {171, "6b02867d00000001ab"}, {255, "6b02867d00000001ff"}} {
		for _, clean := range []bool{false, true} {
			want := strings.Replace(vectorNotify, "6b02867d00000001", tt.id, 1)
			if !clean {
				want = strings.Replace(want, "true]", "false]", 1)
			}
			a := Announcement{Suffix: tt.suffix, Clean: clean}
			if got := string(pool.AppendNotify([]byte("x"), limitHuge, nil, a)); withoutMark(got) != withoutMark("x"+want) {
				t.Errorf("pool: %s", got)
			}
			if got := string(solo.AppendNotify([]byte("x"), limitHuge, payout, a)); withoutMark(got) != withoutMark("x"+want) {
				t.Errorf("solo: %s", got)
			}
		}
	}
	if got := string(pool.Notify(limitHuge, false)); got != strings.Replace(vectorNotify, "true]", "false]", 1) {
		t.Errorf("shared line: %s", got)
	}
}

// A line without payee would give the reward to whoever takes it.
func TestSoloWithoutPayout(t *testing.T) {
	b := newBuilder(t)
	b.PayoutScript = nil
	j := b.mustJob(t, vectorTemplate(t))
	if got := j.AppendNotify(nil, limitUnknown, nil, Announcement{Clean: true}); len(got) != 0 {
		t.Errorf("appended %s", got)
	}
	if got := j.Notify(limitUnknown, true); got != nil {
		t.Errorf("shared line %s", got)
	}
}
