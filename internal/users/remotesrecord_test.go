package users

import (
	"testing"

	"github.com/ckpool/ckpool/internal/testkit/records"
)

// What is moved of other pools' shares is read as the first release wrote it.
func TestRemotesRecord(t *testing.T) {
	record := records.V1(t, "remotes")
	k := records.Check(t, record, remotesVersion, (*remotesRecord).fields)
	if len(k.at) != 1 || k.at[0].Epoch != 3 || len(k.users) != 2 || k.users[1].user != "alice" || k.users[0].inFiles[0].Number != 70 {
		t.Errorf("%+v", k)
	}
	s := New(Config{}, start)
	if err := s.ImportRemotes(record); err != nil || s.RemoteMark("00112233445566778899aabbccddeeff") != (Mark{3, 77}) {
		t.Errorf("%+v, %v", s.remotes.at, err)
	}
	for n := range record {
		if err := New(Config{}, start).ImportRemotes(record[:n]); err == nil {
			t.Errorf("the first %d bytes are taken", n)
		}
	}
}
