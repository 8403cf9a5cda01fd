package relay

import (
	"net/netip"
	"testing"
	"time"

	"ckpool/internal/testkit/records"
	codec "ckpool/internal/wire"
)

func TestRecordsV1(t *testing.T) {
	link := records.Check(t, records.V1(t, "link"), linkVersion, (*linkRecord).fields)
	if *link != (linkRecord{role: 1, dialect: 1, listener: 3, program: "ckpool/1.0", since: time.Unix(1795327613, 0), number: 77}) {
		t.Errorf("%+v", link)
	}
	channel := records.Check(t, records.V1(t, "channel"), channelVersion, (*channelRecord).fields)
	if *channel != (channelRecord{id: 4000000000, addr: netip.MustParseAddr("2001:db8::7")}) {
		t.Errorf("%+v", channel)
	}
}

func FuzzRecords(f *testing.F) {
	f.Add(records.V1(f, "link"))
	f.Add(records.V1(f, "channel"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var l linkRecord
		codec.Read(in).Versioned(linkVersion, l.fields)
		var c channelRecord
		codec.Read(in).Versioned(channelVersion, c.fields)
	})
}
