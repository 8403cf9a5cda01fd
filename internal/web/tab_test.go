package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/memory"
	pagedomain "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/history"
	"github.com/ckpool/ckpool/internal/testkit/port"
)

// quick makes a tab's clock and timers run faster than ours, and lets a test hide it. It counts
// what the page has asked for and not yet read, and done with.
const quick = `(() => {
	const now = Date.now.bind(Date), begun = now(), every = window.setInterval.bind(window);
	Date.now = () => begun + (now() - begun) * 200;
	window.setInterval = (f, ms) => every(() => { window.ticks++; f(); }, ms / 200);
	window.isHidden = false;
	window.ticks = 0;
	window.asking = 0;
	const ask = window.fetch.bind(window), done = () => setTimeout(() => window.asking--);
	window.fetch = async (...all) => {
		window.asking++;
		let answer;
		try {
			answer = await ask(...all);
		} catch (e) {
			done();
			throw e;
		}
		if (!answer.ok) done(); // nobody reads it
		else for (const read of ["text", "json"]) {
			const real = answer[read].bind(answer);
			answer[read] = () => real().finally(done);
		}
		return answer;
	};
	Object.defineProperty(document, "hidden", { get: () => window.isHidden });
})()`

// A tab that is open for a day has as much of memory, and as many elements, as after the
// first minutes (bitaxeorg/ESP-Miner#1949, mempool/mempool#273). The clock of the tab is
// two hundred times as fast as ours, and whatever it asks for is new.
func TestBrowserDay(t *testing.T) {
	f := aPool()
	s := aServer(t, f, nil)
	s.answers.fresh, s.pools.fresh = 0, 0
	address, end := servingThis(t, s)
	defer end()
	b := newTab(browser(t), t)
	b.do(command(pagedomain.AddScriptToEvaluateOnNewDocument, pagedomain.AddScriptToEvaluateOnNewDocumentParams{Source: quick}), chromedp.Navigate(address+"/"))
	b.until("a curve", `!!document.querySelector(".chart canvas")`)
	b.until("it is live", `!document.getElementById("live").hidden`)
	// updates waits until so many lists were shown, each with another figure, and so many texts.
	n := int64(0)
	updates := func(more int) {
		t.Helper()
		for range more {
			n++
			f.setRejects(control.Counts{{Name: "stale", Count: n}, {Name: fmt.Sprint("reason ", n), Count: n}})
			f.mu.Lock()
			f.pool.AcceptedCount = n
			f.mu.Unlock()
			b.until("an update", fmt.Sprintf(`document.querySelector("[data-part=rejects]").innerText.includes("reason %d")`, n))
		}
	}
	measure := func() (heap float64, nodes, listeners int64) {
		t.Helper()
		for range 3 { // what is freed may free more
			b.do(command(heapprofiler.CollectGarbage, cdp.Empty{}))
		}
		b.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			h, err := cdp.Call(ctx, target, runtime.GetHeapUsage, cdp.Empty{})
			if err != nil {
				return err
			}
			c, err := cdp.Call(ctx, target, memory.GetDOMCounters, cdp.Empty{})
			if err != nil {
				return err
			}
			heap, nodes, listeners = h.UsedSize, c.Nodes, c.JsEventListeners
			return nil
		}))
		return heap, nodes, listeners
	}
	updates(30)
	heap, nodes, listeners := measure()
	updates(150)
	heapAfter, nodesAfter, listenersAfter := measure()
	if grown := heapAfter - heap; grown > 5e6 || nodesAfter-nodes > 2000 || listenersAfter-listeners > 100 {
		t.Errorf("grown by %.1f MB, %d nodes, %d listeners: %v %d %d before", grown/1e6, nodesAfter-nodes, listenersAfter-listeners, heap, nodes, listeners)
	}
	// One that is not seen has no stream and draws nothing, and catches up when it is.
	eval[bool](b, `(() => { window.isHidden = true; document.dispatchEvent(new Event("visibilitychange")); return true; })()`)
	for deadline := time.Now().Add(patience); ; <-time.After(20 * time.Millisecond) {
		s.hub.mu.Lock()
		streams := len(s.hub.streams)
		s.hub.mu.Unlock()
		if streams == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a hidden tab keeps its stream")
		}
	}
	b.until("what it has asked for before is drawn", "window.asking === 0")
	drawn := eval[string](b, `document.querySelector("main").innerHTML`)
	f.setRejects(control.Counts{{Name: "seen later", Count: 1}})
	f.mu.Lock()
	f.pool.AcceptedCount, f.asked = 7654321, 0
	f.mu.Unlock()
	eval[bool](b, "(window.ticks = 0) === 0")
	b.until("its timers run on", "window.ticks > 200")
	f.mu.Lock()
	asked := f.asked
	f.mu.Unlock()
	if asked != 0 || eval[string](b, `document.querySelector("main").innerHTML`) != drawn {
		t.Errorf("a hidden tab has asked %d times, or draws", asked)
	}
	eval[bool](b, `(() => { window.isHidden = false; document.dispatchEvent(new Event("visibilitychange")); return true; })()`)
	b.until("it catches up", `document.querySelector("[data-text=accepted]").textContent === "7,654,321" && document.querySelector("[data-part=rejects]").innerText.includes("seen later")`)
	b.quiet("/")
}

// A tab goes on when the program behind it is another one, whatever is stored in the
// browser: with the same page as before without being loaded again, with another page it
// loads that (trexminer/T-Rex#818).
func TestBrowserUpgrade(t *testing.T) {
	f := aPool()
	free, err := port.Free() // nobody else's between two servers
	if err != nil {
		t.Fatal(err)
	}
	at := "127.0.0.1:" + free
	again := func(version string) (end func()) {
		t.Helper()
		next := aServer(t, f, nil)
		if version != "" {
			next.pages.version = version
		}
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- next.Run(ctx, l) }()
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	end := again("")
	b := newTab(browser(t), t)
	b.do(chromedp.Navigate("http://" + at + "/user/alice?sort=name"))
	b.until("it is live", `!document.getElementById("live").hidden`)
	eval[bool](b, `(() => {
		for (const store of [localStorage, sessionStorage]) for (const key of ["ckpool", "theme", "{", ""]) store.setItem(key, "{garbage" + "\u0000".repeat(1000));
		document.cookie = "ckpool=%00{; path=/";
		window.same = true;
		return true;
	})()`)
	follows := func(count int64) {
		t.Helper()
		f.mu.Lock()
		f.users[0].Workers = count
		f.mu.Unlock()
		b.until("it follows", fmt.Sprintf(`document.querySelector('[data-text="user.miners"]').textContent === "%d" && !document.getElementById("live").hidden`, count))
	}
	end()
	b.until("the stream is lost", `document.getElementById("live").hidden`)
	end = again("")
	follows(123)
	if !eval[bool](b, `window.same === true`) {
		t.Error("the page was loaded again for nothing")
	}
	end()
	end = again("other")
	defer func() { end() }()
	b.until("the new page", `document.body.dataset.version === "other" && window.same === undefined`)
	follows(456)
	if got := eval[string](b, `location.search`); got != "?sort=name" {
		t.Errorf("now at %q", got)
	}
}

// What single reports were about, in one browser.
func TestBrowserCases(t *testing.T) {
	chromium := browser(t)
	for name, test := range map[string]func(context.Context, *testing.T){"time zones": timeZones, "rejected line": rejectedLine, "sorted": sorted} {
		t.Run(name, func(t *testing.T) { test(chromium, t) })
	}
}

// Hours are those of the browser, whatever those of the server, over a change of summer
// time too; the API's are UTC with their zone (raspiblitz/raspiblitz#4799).
func timeZones(chromium context.Context, t *testing.T) {
	f := aPool()
	f.started = began.In(time.FixedZone("server", 2*3600))
	f.drawn = func(string, int) float64 { return 1e12 }
	address, end := serving(t, f)
	defer end()
	for _, tt := range []struct{ zone, first, last string }{
		{"America/Phoenix", "17:30", "18:29"}, // UTC-7 all the year
		{"Europe/Berlin", "01:30", "03:29"},   // summer time begins between
		{"Asia/Kathmandu", "06:15", "07:14"},
	} {
		b := newTab(chromium, t)
		b.do(command(emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: tt.zone}), chromedp.Navigate(address+"/"))
		b.until("a curve", `!!document.querySelector(".chart .u-over")`)
		for part, want := range map[string]string{"0.0005": tt.first, "0.9995": tt.last} {
			legend := eval[[]string](b, `new Promise(done => {
				const over = document.querySelector(".chart .u-over"), r = over.getBoundingClientRect(), at = r.left + r.width * `+part+`;
				for (const kind of ["mouseenter", "mousemove"]) over.dispatchEvent(new MouseEvent(kind, { clientX: at, clientY: r.top + 50, movementX: 5, movementY: 1, bubbles: true }));
				requestAnimationFrame(() => requestAnimationFrame(() => done([...document.querySelectorAll(".chart .u-legend .u-value")].map(e => e.textContent))));
			})`)
			if len(legend) != 3 || !strings.HasSuffix(legend[0], want) || legend[1] != figures.Rate(1e12) {
				t.Errorf("%s at %s: %q, want %s", tt.zone, part, legend, want)
			}
		}
		b.quiet(tt.zone)
	}
	s := aServer(t, f, nil)
	var c struct{ Start string }
	if err := json.Unmarshal(get(s, "/api/v1/pool/history").Body.Bytes(), &c); err != nil || c.Start != "2026-03-29T00:30:00Z" {
		t.Errorf("%v: %+v", err, c)
	}
	var p struct{ Time, Started string }
	if err := json.Unmarshal(get(s, "/api/v1/pool").Body.Bytes(), &p); err != nil || !strings.HasSuffix(p.Time, "Z") || p.Started != "2026-03-29T00:30:00Z" {
		t.Errorf("%v: %+v", err, p)
	}
}

// What part of shares is refused has an axis of its own: from 0.1 % to 0.5 % its line
// moves so that anybody sees it (bitaxeorg/ESP-Miner#1937).
func rejectedLine(chromium context.Context, t *testing.T) {
	f := aPool()
	f.drawn = func(figure string, minute int) float64 {
		switch figure {
		case history.Accepted:
			return 1000
		case history.Rejected:
			if minute < 30 {
				return 1
			}
			return 5
		}
		return 1e15
	}
	address, end := serving(t, f)
	defer end()
	b := newTab(chromium, t)
	b.do(chromedp.EmulateViewport(1200, 800), chromedp.Navigate(address+"/"))
	b.until("a curve", `!!document.querySelector(".chart canvas")`)
	at := eval[[]float64](b, `(() => {
		const c = document.querySelector(".chart canvas"), d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
		const red = x => {
			for (let y = 0; y < c.height; y++) {
				const i = 4 * (y * c.width + x);
				if (d[i] > d[i + 1] + 60 && d[i] > d[i + 2] + 60 && Math.abs(d[i + 1] - d[i + 2]) < 25 && d[i + 3] > 100) return y / c.height;
			}
			return -1;
		};
		return [red(Math.round(c.width * 0.3)), red(Math.round(c.width * 0.7))];
	})()`)
	if len(at) != 2 || at[0] < 0 || at[1] < 0 || at[0]-at[1] < 0.1 {
		t.Errorf("the line is at %v of the height", at)
	}
}

// What is sorted stays sorted when the page follows (mesh0000/poolui#37).
func sorted(chromium context.Context, t *testing.T) {
	f := aPool()
	address, end := serving(t, f)
	defer end()
	b := newTab(chromium, t)
	b.do(chromedp.Navigate(address + "/user/alice?sort=name"))
	first := `document.querySelector("[data-part=workers] tbody tr a").textContent`
	want := eval[string](b, first)
	f.mu.Lock()
	list := append([]control.Worker{}, f.workers["alice"]...)
	list[2].DSPS60, list[2].BestEver = 1e9, 5e15
	f.workers["alice"] = list
	f.mu.Unlock()
	b.until("the list follows", `document.querySelector("[data-part=workers]").innerText.includes("5P")`)
	if got := eval[string](b, first); got != want || !strings.Contains(want, "a/b c") {
		t.Errorf("first is %q, was %q", got, want)
	}
}
