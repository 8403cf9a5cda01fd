package figures

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 999: "999", 1000: "1,000", 900007: "900,007", 1234567: "1,234,567", -1: "-1", -1234: "-1,234", -123: "-123",
		math.MinInt64: "-9,223,372,036,854,775,808",
	} {
		if got := Count(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

func TestFigures(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{Things(1, "miner"), "1 miner"}, {Things(0, "miner"), "0 miners"}, {Things(1200, "user"), "1,200 users"},
		{Bitcoins(312500000), "3.125 BTC"}, {Bitcoins(5000000000), "50 BTC"}, {Bitcoins(1), "0.00000001 BTC"}, {Bitcoins(0), "0 BTC"},
		{Bitcoins(2099999997690000), "20999999.9769 BTC"},
		{Rate(0), "0 H/s"}, {Rate(3.2), "3.2 H/s"}, {Rate(0.3349), "0.335 H/s"}, {Rate(0.0004), "0 H/s"}, {Rate(99.9), "99.9 H/s"}, {Rate(99.96), "100 H/s"}, {Rate(1.234e12), "1.23 TH/s"}, {Rate(999.7e9), "1 TH/s"}, {Rate(math.NaN()), "0 H/s"},
		{Rate(1e21), "1 ZH/s"}, {Rate(9.994e23), "999 ZH/s"}, {Rate(9.9996e23), "1 YH/s"}, {Rate(1.234e25), "12.3 YH/s"}, {Rate(4e28), "40 RH/s"}, {Rate(1e30), "1 QH/s"},
		{Rate(9.99e32), "999 QH/s"}, {Rate(1e33), "999 QH/s"}, {Rate(math.Inf(1)), "999 QH/s"}, {Number(1e27), "1R"}, {Number(math.NaN()), "0"}, {Number(math.Inf(1)), "999Q"}, {Number(1e-3), "0.001"},
		{Number(126e12), "126T"}, {Number(4.6565e-10), "4.66e-10"}, {Number(42.5), "42.5"}, {Number(0), "0"}, {Number(1000), "1K"},
		{Percent(0), "0%"}, {Percent(0.43), "43%"}, {Percent(0.0432), "4.3%"}, {Percent(0.00012), "0.012%"}, {Percent(1), "100%"}, {Percent(12.34), "1234%"}, {Percent(0.000999), "0.1%"}, {Percent(0.9949), "99%"},
		{Percent(1e-9), "under 0.0001%"}, {Percent(0.000003), "0.0003%"},
		{Odds(0), "none"}, {Odds(0.5), "50%"}, {Odds(1), "100%"}, {Odds(1.0 / 1234), "1 in 1,234"}, {Odds(1e-12), "1 in 1,000,000,000,000"},
		{Duration(0), "0s"}, {Duration(59 * time.Second), "59s"}, {Duration(725 * time.Second), "12m 5s"}, {Duration(76 * time.Hour), "3d 4h"},
		{Duration(time.Hour), "1h 0m"}, {Duration(-time.Second), "0s"},
		{Short("sixteen letters!"), "sixteen letters!"}, {Short("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"), "bc1qw5…f3t4"},
		{Worker("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4.rig1"), "bc1qw5…f3t4.rig1"},
		{Worker("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4_" + strings.Repeat("ü", 200)), "bc1qw5…f3t4_üüüüüü…üüüü"},
		{Worker("al\x1b[2Jice.r\nig1"), "al.[2Jice.r.ig1"}, {Cut("cgminer/4.12.1", 20), "cgminer/4.12.1"}, {Cut("é\x07456", 4), "é.4…"},
		{Worker("alice.rig1"), "alice.rig1"}, {Worker("alice"), "alice"}, {Worker(""), ""}, {Worker("alice."), "alice."},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}
