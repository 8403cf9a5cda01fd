package sharelog

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What is read is written back byte for byte, whatever version wrote it.
func TestRecordKeepsLinesOfAllVersions(t *testing.T) {
	for _, file := range []string{"testdata/shares.v26", "testdata/shares.v17"} {
		for i, line := range lines(t, file) {
			r, err := ParseRecord(line)
			if err != nil {
				t.Fatalf("%s:%d: %v", file, i+1, err)
			}
			if got := r.Append(nil); !bytes.Equal(got, line) {
				t.Errorf("%s:%d:\n got %s\nwant %s", file, i+1, got, line)
			}
		}
	}
}

func lines(t testing.TB, file string) [][]byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSpace(data), []byte{'\n'})
}

func TestRecordFields(t *testing.T) {
	got, err := ParseRecord(lines(t, "testdata/shares.v26")[1])
	if err != nil {
		t.Fatal(err)
	}
	want := Record{
		WorkID: 7710873383440744449, ClientID: 2, Extranonce1: "7e86026b", Extranonce2: "0000000000000001",
		Nonce: "0009bf79", NTime: "6b02867d", Difficulty: 42, Achieved: -1,
		ErrorCode: 21, ErrorText: "Invalid JobID", Errn: 1, Created: time.Unix(1795327619, 53012345),
		CreateBy: "code", CreateCode: "parse_submit", CreateInet: "0.0.0.0:3333", WorkerName: `bob."rig"`,
		UserName: "bob", Address: "198.51.100.7",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	old, err := ParseRecord(lines(t, "testdata/shares.v17")[1])
	if err != nil {
		t.Fatal(err)
	}
	if old.RejectReason != "Stale" || old.ErrorText != "Stale" || old.ErrorCode != 0 || len(old.Unknown) != 2 || old.Unknown[0].Key != "workminers" {
		t.Errorf("record of 2017: %+v", old)
	}
}

// Job ids of after 2038 have the top bit set.
func TestRecordWorkIDBeyond2038(t *testing.T) {
	r := Record{WorkID: 0xf000000000000001}
	got, err := ParseRecord(r.Append(nil))
	if err != nil || got.WorkID != r.WorkID {
		t.Errorf("work id %x, %v", got.WorkID, err)
	}
}

func TestRecordRefusesBadLines(t *testing.T) {
	for _, line := range []string{
		``, `x`, `[]`, `{`, `{"workinfoid": "x"}`, `{"diff": "42"}`, `{"createdate": "now"}`, `{"createdate": "1,-1"}`,
		`{"error": [21]}`, `{"error": 5}`, `{"clientid": 1.5}`, `{"hash": "` + "\n",
	} {
		if r, err := ParseRecord([]byte(line)); err == nil {
			t.Errorf("%q read as %+v", line, r)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	for _, file := range []string{"testdata/shares.v26", "testdata/shares.v17"} {
		for _, line := range lines(f, file) {
			f.Add(line)
		}
	}
	f.Add([]byte(`{"error": null, "error": "x", "createdate": "5"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := ParseRecord(line)
		if err != nil {
			return
		}
		text := r.Append(nil)
		again, err := ParseRecord(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := again.Append(nil); !bytes.Equal(got, text) {
			t.Fatalf("written %s, read and written %s", text, got)
		}
	})
}

func BenchmarkRecordAppend(b *testing.B) {
	r, err := ParseRecord(lines(b, "testdata/shares.v26")[0])
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = r.Append(buf[:0])
	}
}
