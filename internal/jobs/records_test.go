package jobs

import (
	"testing"

	"ckpool/internal/testkit/records"
	"ckpool/work"
)

func TestReadRecordsV1(t *testing.T) {
	tip, j, err := readJob(records.V1(t, "job"), new(work.JobReader))
	if err != nil || tip != 9 || j.ID != 0x6b02867d00000001 {
		t.Errorf("%d, %+v, %v", tip, j, err)
	}
	again, err := appendJob(nil, new(work.JobWriter), tip, j)
	if err != nil {
		t.Error(err)
	}
	records.Same(t, again, records.V1(t, "job"))
	records.JSON[inUse](t, records.V1(t, "jobs"))
	k, err := readInUse(records.V1(t, "jobs"))
	if err != nil || k != (inUse{1, 0x6b02867d00000001, 3}) {
		t.Errorf("%+v, %v", k, err)
	}
}

func FuzzReadRecords(f *testing.F) {
	f.Add(records.V1(f, "jobs"))
	f.Add(records.V1(f, "job"))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, _ = readInUse(in)
		_, _, _ = readJob(in, new(work.JobReader))
	})
}

// A record that is cut off, or of a newer version, is refused.
func TestDamagedRecords(t *testing.T) {
	records.Damaged(t, "job", 0, func(in []byte) error { _, _, err := readJob(in, new(work.JobReader)); return err })
	records.Damaged(t, "jobs", 0, func(in []byte) error { _, err := readInUse(in); return err })
}
