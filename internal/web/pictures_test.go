package web

import (
	"context"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	pagedomain "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/history"
	"github.com/ckpool/ckpool/sharelog"
)

// somePool is a pool of some PH/s as there might be one, made up for the pictures of the
// docs.
func somePool() *fixture {
	now := time.Now()
	ago := func(d time.Duration) control.Time { return control.At(now.Add(-d)) }
	const th = 1e12 / 4294967296 // TH/s as difficulty a second
	f := aPool()
	f.started = now.Add(-18*24*time.Hour - 5*time.Hour)
	f.pool = control.PoolStats{
		Workers: 1243, Users: 311, Disconnected: 9, SPS1: 412.6, DSPS1: 3262 * th, DSPS5: 3251 * th, DSPS15: 3248 * th, DSPS60: 3239 * th, DSPS360: 3190 * th,
		DSPS1440: 3102 * th, DSPS10080: 2987 * th, Accepted: 41.7e12, AcceptedCount: 61_443_870, Rejected: 0.11e12, RejectedCount: 147_310, BestShare: 28.4e12,
		NetworkDifficulty: 126.41e12, Height: 921_447,
	}
	f.rejects = control.Counts{{Name: "stale", Count: 112_480}, {Name: "above target", Count: 21_302}, {Name: "job not found", Count: 9_871}, {Name: "duplicate", Count: 3_657}}
	f.drops = control.Counts{{Name: "closed by peer", Count: 4_310}, {Name: "idle", Count: 211}, {Name: "bad input", Count: 34}, {Name: "HTTP request", Count: 17}}
	f.came = control.Counts{{Name: "0.0.0.0:3333", Count: 1107}, {Name: "0.0.0.0:4333", Count: 136}}
	w := f.work[""]
	w.Made, w.Height, w.Transactions, w.Fees, w.Reward = ago(11*time.Second), 921_447, 3_812, 2_841_377, 315_341_377
	f.work = map[string]control.MinersWork{"": w}
	f.nodes = []control.Node{{State: "ok", Current: true, Height: 921_446, LatencyMS: 1.8}, {State: "ok", Height: 921_446, LatencyMS: 23.4}}
	f.links, f.proxies = []control.Link{{Role: "passthrough", Miners: 204}, {Role: "passthrough", Miners: 61}}, nil
	addresses := []string{
		"bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
		"1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", "bc1qc7slrfxkknqcq2jevvvkdgvrt8080852dfjewde450xdlk4ugp7szw5tk9",
	}
	block := func(height int64, days float64, luck float64, finder, state string) control.Block {
		return control.Block{
			Height: height, Hash: strings.Repeat("0", 19) + fmt.Sprintf("%045x", uint64(height)*0x9e3779b97f4a7c15), Worker: finder, Difficulty: 126.41e12, Work: 126.41e12 / luck,
			Reward: 312_500_000 + height%7*911_003, Time: ago(time.Duration(days * 24 * float64(time.Hour))), State: state,
		}
	}
	f.blocks = []control.Block{
		block(896_102, 171, 0.62, addresses[3]+".garage", "confirmed 100"), block(904_771, 112, 2.31, addresses[0]+".s21-04", "confirmed 100"),
		block(912_006, 64, 1.18, addresses[5]+".rack2", "orphaned"), block(921_398, 0.4, 0.97, addresses[1]+".loft", "confirmed 48"),
	}
	f.users = nil
	for i, a := range addresses {
		rate := float64(700-110*i) * th
		f.users = append(f.users, control.User{
			User: a, Workers: int64(30 - 4*i), BestDifficulty: 28.4e12 / math.Pow(3.1, float64(i)), BestEver: 96.2e12 / math.Pow(2.7, float64(i)), LastShare: ago(time.Second * time.Duration(i+1)),
			Rates: control.Rates{DSPS1: rate, DSPS5: rate, DSPS60: rate * 0.99, DSPS1440: rate * 0.97}, DSPS10080: rate * 0.93,
		})
	}
	user := addresses[0]
	for i, k := range []struct {
		name, agent string
		rate, diff  float64
		quiet       time.Duration
		rejected    int64
	}{
		{"s21-01", "Antminer S21/Tue Mar 4", 201, 131072, time.Second, 40}, {"s21-04", "Antminer S21/Tue Mar 4", 198, 131072, 4 * time.Second, 71},
		{"m60", "whatsminer/v1.1", 172, 120000, 2 * time.Second, 210}, {"nerdqaxe", "NerdQAxe++/v1.0.30", 4.9, 3600, 3 * time.Second, 8},
		{"bitaxe-attic", "bitaxe/BM1370/v2.9.0", 1.21, 1024, 6 * time.Second, 3}, {"bitaxe-desk", "bitaxe/BM1366/v2.8.1", 0.52, 512, 2 * time.Second, 0}, {"nerdminer", "NerdMinerV2", 7.8e-8, 0.0015, 4 * time.Minute, 0},
	} {
		rate := k.rate * th
		f.workers[user] = append(f.workers[user], control.Worker{
			User: user, Worker: user + "." + k.name, Started: ago(time.Duration(40-i) * time.Hour), LastShare: ago(k.quiet), AcceptedShares: 41_230 / int64(i+1),
			BestDifficulty: 28.4e12 / math.Pow(9, float64(i)), BestEver: 96.2e12 / math.Pow(7, float64(i)), Rejects: control.Counts{{Name: "stale", Count: k.rejected}},
			Rates: control.Rates{DSPS1: rate, DSPS5: rate, DSPS60: rate, DSPS1440: rate},
		})
		f.miners[user] = append(f.miners[user], control.Connection{Worker: user + "." + k.name, Difficulty: k.diff, UserAgent: k.agent})
	}
	f.workers[user] = append(f.workers[user], control.Worker{User: user, Worker: user + ".s19-old", LastShare: ago(50 * time.Hour), BestEver: 4.1e9, AcceptedShares: 901})
	status := sharelog.PoolStatus{Runtime: 1}
	lines := status.Lines()
	f.file = []byte(strings.Join(lines[:], "\n") + "\n")
	f.day = true
	f.drawn = func(figure string, minute int) float64 {
		x := float64(minute) / 6
		wave := 1 + 0.035*math.Sin(x/9) + 0.012*math.Sin(x*1.7) + 0.008*math.Sin(x*5.1) + x/900
		switch figure {
		case history.HashRate:
			return 3.05e15 * wave
		case "user":
			if minute >= 196 && minute < 205 {
				return math.NaN() // it was off
			}
			return 6.6e14 * (1 + 0.05*math.Sin(x/7) + 0.03*math.Sin(x*2.1))
		case history.Accepted:
			return 1e6
		case history.Rejected:
			return 2300 + 500*math.Sin(x*0.9) + 300*math.Sin(x*2.3)
		}
		return wave
	}
	return f
}

// The pictures of the docs, made with -update; without it, that what they are of is shown.
func TestBrowserPictures(t *testing.T) {
	f := somePool()
	s := aServer(t, f, func(c *config.Config) {
		c.PoolTag = "solo.example"
		tls := c.Servers[0]
		tls.URL, tls.TLSCert, tls.TLSKey = "0.0.0.0:4333", "cert", "key"
		c.Servers = append(c.Servers, tls)
	})
	address, end := servingThis(t, s)
	defer end()
	chromium := browser(t)
	for _, p := range []struct {
		file, path    string
		width, height int64
		scale         float64
		dark          bool
	}{
		{"pool.png", "/", 1200, 1570, 1, false}, {"user.png", "/user/" + f.users[0].User, 1200, 1010, 1, true}, {"phone.png", "/", 390, 1240, 2, false},
	} {
		b := newTab(chromium, t)
		scheme := "light"
		if p.dark {
			scheme = "dark"
		}
		b.do(
			command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}),
			command(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: p.width, Height: p.height, DeviceScaleFactor: p.scale, Mobile: p.scale > 1}),
			chromedp.Navigate(address+p.path),
		)
		b.until("a curve", `!!document.querySelector(".chart canvas")`)
		b.until("it is live", `!document.getElementById("live").hidden`)
		b.quiet(p.path)
		if !*update {
			continue
		}
		b.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			shot, err := cdp.Call(ctx, target, pagedomain.CaptureScreenshot, pagedomain.CaptureScreenshotParams{Format: pagedomain.CaptureScreenshotFormatPng})
			if err != nil {
				return err
			}
			return os.WriteFile("../../docs/images/"+p.file, shot.Data, 0o644)
		}))
	}
}
