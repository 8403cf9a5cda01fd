package forward

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store"
)

// full has something in every field.
func full() message {
	x := difficulty.ExactOf(0.1)
	return message{generation: 1<<63 | 5, name: "pool", network: "regtest", batch: store.Batch{
		Instance: [16]byte{1, 15: 2}, From: store.Position{Epoch: 1, Number: 7, Life: "a5"}, To: store.Position{Epoch: 2, Number: 3, Life: "b6"}, At: 1_795_327_613_000_000,
		Workers: []store.Worker{{Kind: store.User, Account: "alice", Name: "rig"}, {Kind: store.Address, Account: "bcrt1q", Name: ""}},
		Agents:  []string{"", "cgminer/4.12"},
		Jobs: []store.Job{{Number: 1, ID: 1 << 60, Height: 840_000, PrevHash: [32]byte{3, 31: 4}, Bits: 0x1d00ffff, Difficulty: difficulty.MaxExact,
			Version: 0x20000000, NTime: 5, Reward: 312_500_000, Created: 6, Record: []byte(`{"version":1}`)}},
		Shares: []store.Share{{Number: 2, Received: 9, NTime: 10, Hash: [16]byte{11, 15: 12}, Worker: 1, Agent: 1, Scheme: 1, Job: 1 << 60,
			Credit: x, Achieved: difficulty.ExactOf(1e18), Above: store.Above{Verdict: store.AcceptedAbove, Difficulty: x}}},
		Rejects: []store.Reject{{Received: 1, Worker: 1, Agent: 1, Job: 2, Reason: store.Other, Difficulty: x, Above: store.Above{Verdict: store.Unanswered, Difficulty: x}}},
		Seen:    []store.Seen{{Worker: 1, At: 2}},
		Blocks:  []store.Block{{Hash: [32]byte{1, 31: 2}, Height: 3, Job: 4, Worker: -1, Difficulty: x, Reward: 5, Found: 6}},
		Changes: []store.BlockChange{{Hash: [32]byte{1, 31: 2}, At: 3, State: "orphaned", Confirmations: -1, Note: "why"}},
		Minutes: []store.Minute{{At: 1, Users: 2, Workers: 3, Rate1m: x, Rate5m: difficulty.ExactOf(2), Rate1h: difficulty.ExactOf(3), Rate24h: difficulty.ExactOf(4)}},
		Gaps:    []store.Gap{{Epoch: 1, First: 2, Last: 3, Seen: 4, Cause: "damaged"}},
	}}
}

// What was sent is what comes, field by field; none is left out.
func TestMessage(t *testing.T) {
	want := full()
	unset(t, reflect.ValueOf(want.batch), "batch")
	data := want.encode(nil)
	var got message
	if err := got.decode(data); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v, want\n%+v", err, got, want)
	}
	for n := range data {
		if err := new(message).decode(data[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are a message", n, len(data))
		}
	}
	if err := new(message).decode(append(data, 0)); err == nil {
		t.Error("a message with a byte too many is one")
	}
	data[0] = version + 1
	var later *laterError
	if err := new(message).decode(data); !errors.As(err, &later) {
		t.Error(err)
	}
}

// unset fails where a field of the value has nothing in it: a field that is added to
// batches has to be sent as well.
func unset(t *testing.T, v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			unset(t, v.Field(i), name+"."+v.Type().Field(i).Name)
		}
	case reflect.Slice:
		if v.Len() == 0 {
			t.Errorf("%s has nothing in it", name)
			return
		}
		unset(t, v.Index(v.Len()-1), name)
	default:
		// Amounts pass as a whole; an import goes into the database itself.
		if v.IsZero() && name != "batch.Known" && name != "batch.Workers.Name" && !strings.HasSuffix(name, ".hi") {
			t.Errorf("%s has nothing in it", name)
		}
	}
}

// What is longer than a message may be, is not made by records of usual size.
func TestSize(t *testing.T) {
	m := full()
	few := len(m.encode(nil))
	for range 1000 {
		m.batch.Shares = append(m.batch.Shares, store.Share{Number: 1 << 62, Received: 1 << 62, NTime: 1<<32 - 1, Worker: 1<<31 - 1, Agent: 1<<31 - 1, Scheme: 255, Job: 1})
	}
	const row = 128 // as package accounting takes it
	if size := (len(m.encode(nil)) - few) / 1000; size > row {
		t.Errorf("a share takes %d bytes, want at most %d", size, row)
	}
}

func FuzzMessage(f *testing.F) {
	m := full()
	f.Add(m.encode(nil))
	f.Add([]byte{version, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var a, b message
		if a.decode(data) != nil {
			return
		}
		if err := b.decode(a.encode(nil)); err != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%v: %+v is read again as %+v", err, a, b)
		}
	})
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"version":1,"epoch":1,"number":2,"hole":3}`))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var q question
		var a answer
		if err := readJSON(data, "a question", &q); err == nil && q.Version != version {
			t.Errorf("version %d is taken", q.Version)
		}
		readJSON(data, "an answer", &a)
	})
}

func TestRedacted(t *testing.T) {
	const got = "nats://alice:secret@a:4222, tls://token@b:4222,nats://c"
	if s := Redacted(got); s != "nats://alice:xxxxx@a:4222,tls://xxxxx@b:4222,nats://c" {
		t.Error(s)
	}
}
