package relay

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/records"
	codec "github.com/ckpool/ckpool/internal/wire"
)

func TestRecordsV1(t *testing.T) {
	link := records.Earlier(t, records.V1(t, "link"), linkVersion, (*linkRecord).fields)
	want := linkRecord{role: 1, dialect: 1, listener: 3, program: "ckpool/1.0", since: time.Unix(1795327613, 0), number: 77}
	if !reflect.DeepEqual(*link, want) {
		t.Errorf("%+v", link)
	}
	link = records.Check(t, records.Of(t, "v2", "link"), linkVersion, (*linkRecord).fields)
	want.role, want.work, want.held = 2, 6888000000000000017, []byte("held\n")
	if !reflect.DeepEqual(*link, want) {
		t.Errorf("%+v", link)
	}
	channel := records.Check(t, records.V1(t, "channel"), channelVersion, (*channelRecord).fields)
	if *channel != (channelRecord{id: 4000000000, addr: netip.MustParseAddr("2001:db8::7")}) {
		t.Errorf("%+v", channel)
	}
}

func FuzzRecords(f *testing.F) {
	f.Add(records.V1(f, "link"))
	f.Add(records.Of(f, "v2", "link"))
	f.Add(records.V1(f, "channel"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var l linkRecord
		codec.Read(in).Versioned(linkVersion, l.fields)
		var c channelRecord
		codec.Read(in).Versioned(channelVersion, c.fields)
	})
}
