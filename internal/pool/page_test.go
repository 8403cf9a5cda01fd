package pool

import (
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/config"
)

// The page says how a miner of this port is set up.
func TestWebPage(t *testing.T) {
	c := &config.Config{PoolTag: "example"}
	for _, tt := range []struct {
		solo, secure bool
		want         []string
	}{
		{false, false, []string{"of the pool example", "stratum+tcp://", "user      any name"}},
		{true, true, []string{"stratum+ssl://", "user      your Bitcoin address"}},
	} {
		page := webPage(c, tt.solo, tt.secure)
		for _, want := range tt.want {
			if !strings.Contains(page, want) {
				t.Errorf("solo %v, secure %v: no %q in\n%s", tt.solo, tt.secure, want, page)
			}
		}
	}
}
