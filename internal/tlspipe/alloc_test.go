//go:build !race

package tlspipe

import (
	"crypto/tls"
	"strings"
	"testing"
)

// Sealing into a buffer with room allocates nothing.
func TestSealAllocates(t *testing.T) {
	server, _ := connect(t, first(configs(t, tls.VersionTLS13)), &tls.Config{InsecureSkipVerify: true})
	buf, line := make([]byte, 0, 4096), []byte(strings.Repeat("x", 300))
	if n := testing.AllocsPerRun(100, func() { buf = server.Seal(buf[:0], line) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
