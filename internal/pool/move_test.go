package pool

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/authority"
	"github.com/ckpool/ckpool/internal/handover"
	"github.com/ckpool/ckpool/internal/testkit/records"
	"github.com/ckpool/ckpool/internal/upstream"
)

// start is the time of every test.
var start = time.Unix(1795327613, 0)

func TestReadSectionsV1(t *testing.T) {
	now := time.Unix(1795327614, 0)
	records.Earlier(t, records.V1(t, "standstill"), standstillVersion, (*standstill).fields)
	v2 := records.Check(t, records.Of(t, "v2", "standstill"), standstillVersion, (*standstill).fields)
	if v2.changes != (authority.Position{Store: "s1", Number: 7}) { // which v1 has not
		t.Errorf("%+v", v2)
	}
	m, err := readStandstill(records.V1(t, "standstill"), now)
	if err != nil || !m.at.Equal(now.Add(-750*time.Millisecond)) || m.sessions != 3600.25 || !m.rejecting {
		t.Errorf("%+v, %v", m, err)
	}
	if k := records.Check(t, records.V1(t, "sessions"), sessionsVersion, (*batchRecord).fields); k.loop != 3 {
		t.Errorf("connections of loop %d", k.loop)
	}
	if k := records.Check(t, records.V1(t, "links"), linksVersion, (*linkHead).fields); *k != (linkHead{loop: 3, link: 70000}) {
		t.Errorf("%+v", k)
	}
	if i := records.JSON[Instance](t, records.V1(t, "instance")); !reflect.DeepEqual(i, Instance{Solo: true, Nonce1Length: 4, Nonce2Length: 8, Loops: 2, Miners: 5100}) {
		t.Errorf("%+v", i)
	}
	if i := records.JSON[Instance](t, records.Of(t, "v2", "instance")); !reflect.DeepEqual(i, Instance{Solo: true, Nonce1Length: 4, Nonce2Length: 8, Loops: 2, Miners: 5100, Ckdb: true}) {
		t.Errorf("%+v", i)
	}
	if i := records.JSON[Instance](t, records.Of(t, "v3", "instance")); !reflect.DeepEqual(i, Instance{Proxy: true, Nonce1Length: 4, Nonce2Length: 8, Loops: 2, Miners: 5100, LastSource: 1795327620, Upstreams: []upstream.Standing{
		{URL: "pool.example.org:3333", User: "farm", Serves: true, Moves: true}, {URL: "stratum+ssl://pool.example.net:443", User: "farm"},
	}}) {
		t.Errorf("%+v", i)
	}
	// The numbers of sections are part of the format.
	if sectionListeners != 16 || sectionSessions != 26 || sectionBlocks != 27 || sectionUpstreams != 64 || sectionUpstreamLine != 65 || sectionLeft != 66 || sectionLink != 67 || sectionChannels != 68 || handover.SectionsOfProcess != 128 || handover.FirstSection != 16 {
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
	f.Fuzz(func(t *testing.T, in []byte) {
		_, _ = readStandstill(in, start)
	})
}

// A record that is cut off, or of a newer version, is refused.
func TestDamagedRecords(t *testing.T) {
	records.Damaged(t, "standstill", 0, func(in []byte) error { _, err := readStandstill(in, start); return err })
}

// A later release says by the number of a section whether this one may take over
// without it: what would be lost refuses, the rest is left out.
func TestSectionsOfALaterRelease(t *testing.T) {
	for kind, refused := range map[handover.Kind]bool{sectionBlocks + 1: true, 63: true, sectionChannels + 1: false, 127: false} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Dup(int(w.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		a := &Incoming{have: map[handover.Kind]bool{}}
		err = a.Section(kind, []byte{1, 2, 3}, []int{fd})
		if refused != (err != nil) || err != nil && !strings.Contains(err.Error(), fmt.Sprintf("section %d holds state that this version does not know and would lose", kind)) {
			t.Errorf("%v: %v", kind, err)
		}
		if n, err := r.Read(make([]byte, 1)); err != io.EOF { // nobody has the other end any more
			t.Errorf("%v: its descriptor is open: %d, %v", kind, n, err)
		}
		r.Close()
	}
}

// A change of accounts that comes while a pool moves may not have got to its miners, of whom the
// other process knows only that they may mine: that one gets it again.
func TestChangesWhileMoving(t *testing.T) {
	p := newPool(t, "127.0.0.1:1")
	p.accounts = authority.NewClient(authority.Options{})
	p.accounts.SetPosition(authority.Position{Store: "s1", Number: 7})
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- p.server.Run(ctx) }()
	var records [][]byte
	var mu sync.Mutex
	send := func(kind handover.Kind, data []byte, _ []int) error {
		mu.Lock()
		defer mu.Unlock()
		if kind == sectionStandstill {
			records = append(records, bytes.Clone(data))
		}
		return nil
	}
	o := p.Outgoing()
	if err := o.Copy(ctx, true, send); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	p.accounts.SetPosition(authority.Position{Store: "s1", Number: 8})
	if err := o.Rest(send); err != nil {
		t.Error(err)
	}
	o.Thaw()
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if len(records) != 1 {
		t.Fatalf("%d records", len(records))
	}
	m, err := readStandstill(records[0], time.Now())
	if want := (authority.Position{Store: "s1", Number: 7}); err != nil || m.changes != want {
		t.Errorf("%+v, %v, want %+v", m.changes, err, want)
	}
}
