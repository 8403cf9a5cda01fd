package pool

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"ckpool/internal/authority"
	"ckpool/internal/handover"
	"ckpool/internal/testkit/records"
)

// start is the time of every test.
var start = time.Unix(1795327613, 0)

func TestReadSectionsV1(t *testing.T) {
	now := time.Unix(1795327614, 0)
	records.Check(t, records.V1(t, "standstill"), standstillVersion, (*standstill).fields)
	m, err := readStandstill(records.V1(t, "standstill"), now)
	if err != nil || !m.at.Equal(now.Add(-750*time.Millisecond)) || m.sessions != 3600.25 || !m.rejecting || m.changes != (authority.Position{Store: "s1", Number: 7}) {
		t.Errorf("%+v, %v", m, err)
	}
	l, err := readListeners(records.V1(t, "listeners"))
	if err != nil || len(l) != 1 || l[0].URL != "localhost:3333" || len(l[0].Addrs) != 2 || l[0].Addrs[1] != netip.MustParseAddrPort("127.0.0.1:3333") {
		t.Errorf("%+v, %v", l, err)
	}
	var i Instance
	if err := json.Unmarshal(records.V1(t, "instance"), &i); err != nil || i != (Instance{true, 4, 8, 2, 0, false}) {
		t.Errorf("%+v, %v", i, err)
	}
	// The numbers of sections are part of the format.
	if sectionListeners != 16 || sectionSessions != 26 || sectionBlocks != 27 || SectionsOfProcess != 128 || handover.FirstSection != 16 {
		t.Error("sections have other numbers")
	}
}

// The wall clock may be set back or far ahead while a process takes over.
func TestStandstillAndTheWallClock(t *testing.T) {
	at := time.Unix(1795327613, 0)
	m := standstill{at: at, sessions: 2}
	record := m.append(nil)
	for _, tt := range []struct{ late, want time.Duration }{
		{50 * time.Millisecond, 50 * time.Millisecond}, {-time.Hour, 0}, {24 * time.Hour, maxPause},
	} {
		now := at.Add(tt.late)
		got, err := readStandstill(record, now)
		if err != nil || now.Sub(got.at) != tt.want {
			t.Errorf("%v late: %v ago, %v; want %v", tt.late, now.Sub(got.at), err, tt.want)
		}
	}
}

func FuzzReadSections(f *testing.F) {
	f.Add(records.V1(f, "standstill"))
	f.Add(records.V1(f, "listeners"))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, _ = readStandstill(in, start)
		_, _ = readListeners(in)
	})
}

// A record that is cut off, or of a newer version, is refused.
func TestDamagedRecords(t *testing.T) {
	records.Damaged(t, "standstill", 0, func(in []byte) error { _, err := readStandstill(in, start); return err })
	records.Damaged(t, "listeners", 0, func(in []byte) error { _, err := readListeners(in); return err })
}
