package relay

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/records"
	codec "github.com/ckpool/ckpool/internal/wire"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/stratum"
)

// What the first release writes of links to pools, of miners and of redirects.
var (
	ofUplink = uplinkRecord{
		url: "pool.example:3333", dialect: 1, number: 7, active: true, since: time.Unix(1795327613, 250), in: []byte("l 5 {\"half"), out: []byte("p\n"),
		shared: [][]byte{nil, []byte("{\"a\":1}\n"), nil},
	}
	ofMiner = minerRecord{
		id: 4000000001, wire: 7, server: 2, told: 1795327600,
		past: past{begun: true,
			requests: []request{{[]byte("mining.subscribe"), []byte(`["miner/1"]`)}, {[]byte("mining.authorize"), []byte(`["bob.rig","x"]`)}}, size: 70,
			flights: []flight{{[]byte("3"), []byte(`{"id":3,"method":"mining.submit","params":[]}`), submitting, 0}}, flying: 45,
			extranonce: stratum.Extranonce{SessionID: "0123456789abcdef", Extranonce1: []byte{1, 2, 3, 4}, Extranonce2Len: 8},
			agent:      "miner/1", configured: []byte(`{"version-rolling":true}`), replies: 1, silent: true, authorised: true, redirected: true,
		},
	}
	sumsUplink = func() uplinkRecord {
		k := ofUplink
		k.sums = true
		return k
	}()
	watchedMiner = func() minerRecord {
		k := ofMiner
		k.watched = []byte("of a node")
		return k
	}()
	checkedMiner = func() minerRecord {
		k := ofMiner
		k.past.checks = &checks{
			worker: "bob.rig", number: 0x0102030405060708, report: []byte("m:0:0:1"), sums: []poolproto.Sum{{Refusal: poolproto.RefusedTarget, Job: 5, Suffix: 1, Count: 3}},
		}
		k.past.checks.sent.Difficulty, k.past.checks.sent.Mask, k.past.checks.sent.Extranonce = 42, 0x1fffe000, k.past.extranonce
		return k
	}()
	ofEdge      = edgeRecord{lastID: 4000000002}
	ofRedirects = redirectsRecord{next: 3, aged: time.Unix(1795327613, 0), entries: []redirectRecord{
		{netip.MustParseAddr("192.0.2.7"), "eu.pool.example:3333"}, {netip.MustParseAddr("2001:db8::7"), "us.pool.example:3334"},
	}}
)

func TestEdgeRecordsV1(t *testing.T) {
	for name, got := range map[string][2]any{
		"uplink":    {records.Earlier(t, records.V1(t, "uplink"), uplinkVersion, (*uplinkRecord).fields), &ofUplink},
		"sums":      {records.Check(t, records.Of(t, "v2", "uplink"), uplinkVersion, (*uplinkRecord).fields), &sumsUplink},
		"checked":   {records.Check(t, records.Of(t, "v3", "miner"), minerVersion, (*minerRecord).fields), &checkedMiner},
		"miner":     {records.Earlier(t, records.V1(t, "miner"), minerVersion, (*minerRecord).fields), &ofMiner},
		"watched":   {records.Earlier(t, records.Of(t, "v2", "miner"), minerVersion, (*minerRecord).fields), &watchedMiner},
		"edge":      {records.Check(t, records.V1(t, "edge"), edgeVersion, (*edgeRecord).fields), &ofEdge},
		"redirects": {records.Check(t, records.V1(t, "redirects"), redirectsVersion, (*redirectsRecord).fields), &ofRedirects},
	} {
		if !reflect.DeepEqual(got[0], got[1]) {
			t.Errorf("%s is read as\n%+v\nwant\n%+v", name, got[0], got[1])
		}
	}
	records.Damaged(t, "uplink", 0, func(in []byte) error { _, err := readUplink(in); return err })
	records.Damaged(t, "redirects", 0, func(in []byte) error { _, err := readRedirects(in); return err })
}

// Whatever a record says, it is refused or something that can be gone on with.
func FuzzEdgeRecords(f *testing.F) {
	for _, name := range []string{"uplink", "miner", "edge", "redirects"} {
		f.Add(records.V1(f, name))
	}
	f.Add(records.Of(f, "v2", "miner"))
	f.Add(records.Of(f, "v3", "miner"))
	f.Add(records.Of(f, "v2", "uplink"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if k, err := readUplink(in); err == nil && slices.ContainsFunc(k.shared, func(line []byte) bool { return len(line) > 0 && line[len(line)-1] != '\n' }) {
			t.Errorf("%+v", k)
		}
		if k, err := readRedirects(in); err == nil && k.next < 0 {
			t.Errorf("%+v", k)
		}
		var m minerRecord
		c := codec.Read(in)
		c.Versioned(minerVersion, m.fields)
		if c.Done() != nil {
			return
		}
		if m.past.resumable() {
			m.past.resume(nil)
		}
		for m.past.replies > 0 {
			before := m.past.replies
			for n := range m.past.requests {
				m.past.agreed(n, &stratum.Message{Result: []byte("true")}, true)
			}
			if m.past.replies == before {
				break // it waits for what does not come, and the pool closes it in the end
			}
		}
		var e edgeRecord
		codec.Read(in).Versioned(edgeVersion, e.fields)
	})
}
