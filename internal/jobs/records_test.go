package jobs

import (
	"reflect"
	"testing"

	"github.com/ckpool/ckpool/internal/testkit/records"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

func TestReadRecordsV1(t *testing.T) {
	w, err := readJob(records.V1(t, "job"), new(work.JobReader))
	if err != nil || w.Tip != 9 || w.Job.ID != 0x6b02867d00000001 || w.Upstream != nil {
		t.Fatalf("%+v, %v", w, err)
	}
	records.JSON[inUse](t, records.V1(t, "jobs"))
	k, err := readInUse(records.V1(t, "jobs"))
	if err != nil || !reflect.DeepEqual(k, inUse{Version: 1, First: 0x6b02867d00000001, Count: 3}) {
		t.Errorf("%+v, %v", k, err)
	}
}

// The form with what another pool asks, of a job of the pool's own and of another pool's.
func TestReadJobV2(t *testing.T) {
	for _, name := range []string{"job", "upstream"} {
		record := records.Of(t, "v2", name)
		w, err := readJob(record, new(work.JobReader))
		if err != nil {
			t.Fatal(err)
		}
		again, err := appendJob(nil, new(work.JobWriter), w)
		if err != nil {
			t.Error(err)
		}
		records.Same(t, again, record)
		want := &source.Upstream{Source: 7, JobID: "6a/b", Difficulty: 65536, VersionMask: 0x1fffe000, Shape: source.Shape{Own: 2, Extranonce2: 4}}
		if name == "job" {
			want = nil
		}
		if w.Tip != 9 || !reflect.DeepEqual(w.Upstream, want) || w.Job.Given() != (want != nil) {
			t.Errorf("%s: tip %d, %+v", name, w.Tip, w.Upstream)
		}
	}
}

func FuzzReadRecords(f *testing.F) {
	f.Add(records.Of(f, "v2", "upstream"))
	f.Add(records.V1(f, "jobs"))
	f.Add(records.V1(f, "job"))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, _ = readInUse(in)
		_, _ = readJob(in, new(work.JobReader))
	})
}

// A record that is cut off, or of a newer version, is refused.
func TestDamagedRecords(t *testing.T) {
	records.Damaged(t, "job", 0, func(in []byte) error { _, err := readJob(in, new(work.JobReader)); return err })
	records.Damaged(t, "jobs", 0, func(in []byte) error { _, err := readInUse(in); return err })
}
