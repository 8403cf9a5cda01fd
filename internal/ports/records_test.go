package ports

import (
	"net/netip"
	"testing"

	"github.com/ckpool/ckpool/internal/testkit/records"
)

func TestReadListeners(t *testing.T) {
	records.JSON[listenersRecord](t, records.V1(t, "listeners"))
	l, err := readListeners(records.V1(t, "listeners"))
	if err != nil || len(l) != 1 || l[0].URL != "localhost:3333" || len(l[0].Addrs) != 2 || l[0].Addrs[1] != netip.MustParseAddrPort("127.0.0.1:3333") {
		t.Errorf("%+v, %v", l, err)
	}
	records.Damaged(t, "listeners", 0, func(in []byte) error { _, err := readListeners(in); return err })
}

func FuzzReadListeners(f *testing.F) {
	f.Add(records.V1(f, "listeners"))
	f.Fuzz(func(t *testing.T, in []byte) { _, _ = readListeners(in) })
}
