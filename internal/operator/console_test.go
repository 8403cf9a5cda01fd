package operator

import (
	"strings"
	"testing"

	"github.com/ckpool/ckpool/sharelog"
)

// The status line says what matters most in any width, and nothing of
// millionths of hashes before the first miner.
func TestStatusLine(t *testing.T) {
	busy := glance{known: true, height: 900008, PoolStatus: sharelog.PoolStatus{
		Hashrate: [7]float64{1.23456e15}, SPS: [4]float64{8.912}, Users: 12, Workers: 31,
		Accepted: 1850e9, AcceptedCount: 5310, BestShare: 12.3e9, NetworkDifficulty: 126e12,
	}}
	left := busy
	left.Workers, left.Users, left.trouble = 0, 0, "no usable node"
	won := left // a block has ended the round
	won.PoolStatus, won.trouble = sharelog.PoolStatus{NetworkDifficulty: 126e12}, ""
	first := glance{rejected: true, PoolStatus: sharelog.PoolStatus{Workers: 1, Users: 1}}
	for _, tt := range []struct {
		g     glance
		width int
		want  string
	}{
		{glance{}, 80, "/  no miners yet"},
		{glance{height: 900008, PoolStatus: sharelog.PoolStatus{Hashrate: [7]float64{3e-6}, NetworkDifficulty: 126e12}}, 80, "/  no miners yet  mining block 900,008"},
		{busy, 200, "/  1.23 PH/s  31 miners  mining block 900,008  best 12.3G  effort 1.5%  8.91 shares/s  12 users"},
		{busy, 86, "/  1.23 PH/s  31 miners  mining block 900,008  best 12.3G  effort 1.5%  8.91 shares/s"},
		{busy, 85, "/  1.23 PH/s  31 miners  mining block 900,008  best 12.3G  effort 1.5%"},
		{busy, 24, "/  1.23 PH/s  31 miners"},
		{busy, 23, "/  1.23 PH/s"},
		{busy, 1, "/"},
		{left, 80, "/  no usable node  no miners  mining block 900,008  best 12.3G  effort 1.5%"},
		{won, 80, "/  no miners  mining block 900,008"},
		{first, 80, "/  0 H/s  1 miner  new ones rejected  0 shares/s  1 user"},
	} {
		if got := strings.TrimPrefix(StatusLine(tt.g.parts(), 5, tt.width), "\x1b[2K\r"); got != tt.want {
			t.Errorf("%d columns: %q, want %q", tt.width, got, tt.want)
		}
	}
}
