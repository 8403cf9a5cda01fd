package web

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/credentials"
	"github.com/ckpool/ckpool/internal/figures"
)

//go:embed testdata/axe.min.js
var axe string

// patience is for a browser on a busy machine.
const patience = time.Minute

// browser is a chromium without a window, shared by a test's tabs.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("no chromium: apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.WSURLReadTimeout(patience))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, end := chromedp.NewContext(ctx)
	t.Cleanup(end)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// tab is one of a browser, with what it complained of.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	complaints []string // guarded by mu
}

func newTab(browser context.Context, t *testing.T) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, func(e any) {
		text := ""
		switch e := e.(type) {
		case *runtime.EventExceptionThrown:
			text = fmt.Sprintf("%+v", e.ExceptionDetails)
		case *runtime.EventConsoleAPICalled:
			text = fmt.Sprintf("console.%s", e.Type)
		case *cdplog.EventEntryAdded:
			if e.Entry.Level == cdplog.EntryLevelError {
				text = fmt.Sprintf("%+v", e.Entry)
			}
		}
		if text != "" {
			b.mu.Lock()
			b.complaints = append(b.complaints, text)
			b.mu.Unlock()
		}
	}); err != nil {
		t.Fatal(err)
	}
	return b
}

// do runs actions.
func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// eval is what an expression of the page gives, decoded.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := tryEval[T](b, expression)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

func tryEval[T any](b *tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// until waits until an expression is true. Between two pages there may be nothing yet that
// it is about.
func (b *tab) until(what, expression string) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		is, err := tryEval[bool](b, expression)
		if is && err == nil {
			return
		}
		if time.Now().After(deadline) {
			text, _ := tryEval[string](b, "document.body.innerText")
			b.t.Fatalf("not in time: %s: %v\n%s", what, err, text)
		}
		<-time.After(50 * time.Millisecond)
	}
}

func (b *tab) quiet(path string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.complaints) > 0 {
		b.t.Errorf("%s: the browser says %q", path, b.complaints)
	}
	b.complaints = nil
}

func pagePaths(user string) (paths []string) {
	for _, p := range allPaths(user) {
		if !strings.HasPrefix(p, "/api/") && !strings.HasPrefix(p, "/pool/") && !strings.HasPrefix(p, "/users/") && !strings.HasPrefix(p, "/qr/") {
			paths = append(paths, p)
		}
	}
	return paths
}

// Every page, of a user with a name made of HTML too: nothing is complained of, nothing is
// wider than a phone, nothing is hard to use for who cannot see or use a mouse.
func TestBrowserPages(t *testing.T) {
	address, end := serving(t, aPool())
	defer end()
	b := newTab(browser(t), t)
	for _, user := range []string{"alice", hostile} {
		for _, path := range pagePaths(user) {
			for _, width := range []int64{1200, 360} {
				b.do(chromedp.EmulateViewport(width, 800), chromedp.Navigate(address+path))
				if wide := eval[float64](b, "document.documentElement.scrollWidth"); wide > float64(width) {
					t.Errorf("%s is %v wide on a screen of %d", path, wide, width)
				}
				if out := eval[float64](b, `[...document.querySelectorAll(".card img")].filter(i => i.getBoundingClientRect().bottom > i.closest(".card").getBoundingClientRect().bottom).length`); out > 0 {
					t.Errorf("%s: %g pictures are not within their cards", path, out)
				}
			}
			b.do(script(axe))
			for _, v := range eval[[]struct {
				ID, Impact, Help string
				Nodes            []struct{ HTML string }
			}](b, "axe.run().then(r => r.violations)") {
				if v.Impact == "serious" || v.Impact == "critical" {
					t.Errorf("%s: %s: %s: %+v", path, v.ID, v.Help, v.Nodes)
				}
			}
			b.quiet(path)
		}
	}
	// The page looks at itself in the dark as well.
	b.do(command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}}), chromedp.Navigate(address+"/"), script(axe))
	for _, v := range eval[[]struct{ ID, Impact, Help string }](b, "axe.run().then(r => r.violations)") {
		if v.Impact == "serious" || v.Impact == "critical" {
			t.Errorf("in the dark: %s: %s", v.ID, v.Help)
		}
	}
}

// Figures are those of the API, with scripts and without, and follow what happens.
func TestBrowserFigures(t *testing.T) {
	f := aPool()
	address, end := serving(t, f)
	defer end()
	chromium := browser(t)
	shown := func(b *tab) map[string]string {
		return eval[map[string]string](b, `Object.fromEntries([...document.querySelectorAll("[data-text]")].map(e => [e.dataset.text, e.textContent]))`)
	}
	check := func(b *tab, what string) {
		t.Helper()
		have := shown(b)
		for name, want := range map[string]string{
			"hashrate": figures.Rate(perSecond(900)), "hashrate1h": figures.Rate(perSecond(1100)), "miners": "3", "users": "2", "accepted": "123,456",
			"rejected": "12", "best": "4G", "network": "126T", "height": "900,007", "reward": "3.15 BTC", "fees": "0.025 BTC", "transactions": "2",
		} {
			if have[name] != want {
				t.Errorf("%s: %s is %q, want %q", what, name, have[name], want)
			}
		}
	}
	plain := newTab(chromium, t)
	plain.do(command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}), chromedp.Navigate(address+"/"))
	check(plain, "without scripts")
	live := newTab(chromium, t)
	live.do(chromedp.Navigate(address + "/"))
	check(live, "with scripts")
	live.until("it is live", `!document.getElementById("live").hidden`)
	f.mu.Lock()
	f.pool.AcceptedCount++
	f.pool.DSPS1 = 1e6
	f.mu.Unlock()
	live.until("the share shows", `document.querySelector('[data-text=accepted]').textContent === "123,457"`)
	live.until("the rate shows", `document.querySelector('[data-text=hashrate]').textContent === `+quoted(figures.Rate(perSecond(1e6))))
	// Lists follow as well, and what is open stays open.
	live.do(script(`document.querySelector("[data-part=rejects] details").open = true`))
	f.setRejects(control.Counts{{Name: "stale", Count: 77}})
	live.until("the list", `document.querySelector("[data-part=rejects]").innerText.includes("77")`)
	if !eval[bool](live, `document.querySelector("[data-part=rejects] details").open`) {
		t.Error("what was open is closed")
	}
	live.quiet("/")
	// The curve has drawn something in its colour, and a gap where nothing is known.
	for _, path := range []string{"/", "/user/alice", "/user/alice/worker/alice.rig1"} {
		live.do(chromedp.Navigate(address + path))
		live.until("a curve on "+path, `!!document.querySelector(".chart canvas")`)
		drawn := eval[[]int](live, `(() => {
			const c = document.querySelector(".chart canvas"), d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
			const columns = [];
			for (let x = 0; x < c.width; x++) for (let y = 0; y < c.height; y++) {
				const i = 4 * (y * c.width + x);
				if (d[i] > 180 && d[i + 1] > 80 && d[i + 1] < 150 && d[i + 2] < 60 && d[i + 3] > 200) { columns.push(x); break; }
			}
			return columns;
		})()`)
		gap := 0
		for i := 1; i < len(drawn); i++ {
			gap = max(gap, drawn[i]-drawn[i-1])
		}
		if len(drawn) < 100 || gap < 20 {
			t.Errorf("%s: the curve is in %d columns, with a gap of %d", path, len(drawn), gap)
		}
	}
	live.quiet("curves")
}

// slowDay has the curve of a day answered when a test wants it, by one of the year 2001, and
// keeps what is drawn last.
const slowDay = `(() => {
	const real = window.fetch, plot = window.uPlot;
	const old = { start: "2001-01-01T00:00:00Z", period_seconds: 60, figures: { hashrate: [1, 2, 3], rejected_part: [0, 0, 0] } };
	window.fetch = (url, options) => !String(url).includes("range=day") ? real(url, options) : new Promise(done => {
		window.answerDay = () => done({ ok: true, json: async () => old });
	});
	window.uPlot = class extends plot {
		constructor(options, data, box) {
			super(options, data, box); // which gives an object with methods of its own
			const set = this.setData;
			this.setData = data => { set(data); window.drawn = data; };
			window.drawn = data;
		}
	};
})()`

// A curve is that of the range that was chosen last, whichever answer comes last.
func TestBrowserRanges(t *testing.T) {
	address, end := serving(t, aPool())
	defer end()
	b := newTab(browser(t), t)
	b.do(chromedp.Navigate(address + "/"))
	b.until("a curve", `!!document.querySelector(".chart canvas")`)
	b.do(script(slowDay))
	choose := func(name string) { b.do(script(`document.querySelector("[data-range=` + name + `]").click()`)) }
	choose("day")
	b.until("it is asked for", `!!window.answerDay`)
	choose("week")
	b.until("the other one", `!!window.drawn`)
	// What comes of the answer is done before the next task.
	if got := eval[string](b, `(async () => { window.answerDay(); await new Promise(r => setTimeout(r)); return new Date(window.drawn[0][0] * 1000).toISOString(); })()`); !strings.HasPrefix(got, "2026-") {
		t.Errorf("the week's curve begins in %s", got)
	}
	b.quiet("ranges")
}

// Ten tabs of one browser over HTTP/1.1, which has six connections, are live over one
// stream, which ends with them (wildware-uk/agent-dashboard#19, freenet/freenet-core#5213).
func TestBrowserTabs(t *testing.T) {
	f := aPool()
	s := aServer(t, f, nil)
	address, end := servingThis(t, s)
	defer end()
	chromium := browser(t)
	var tabs []*tab
	for _, path := range []string{"/", "/", "/user/alice", "/blocks", "/connect", "/", "/user/alice/worker/alice.rig1", "/", "/user/alice/work", "/"} {
		b := newTab(chromium, t)
		b.do(chromedp.Navigate(address + path))
		tabs = append(tabs, b)
	}
	f.mu.Lock()
	f.pool.DSPS1 = 5e6
	f.mu.Unlock()
	for _, b := range tabs {
		b.until("it is live", `!document.getElementById("live").hidden`)
	}
	s.hub.mu.Lock()
	n := len(s.hub.streams)
	s.hub.mu.Unlock()
	if n != 1 {
		t.Errorf("%d streams", n)
	}
}

// Two tabs that show two users have the one stream, and each shows its own.
func TestBrowserTwoUsers(t *testing.T) {
	f := aPool()
	address, end := serving(t, f)
	defer end()
	chromium := browser(t)
	alice, other := newTab(chromium, t), newTab(chromium, t)
	alice.do(chromedp.Navigate(address + "/user/alice"))
	other.do(chromedp.Navigate(address + "/user/" + url.PathEscape(hostile)))
	const shown = `document.querySelector('[data-text="user.bestEver"]').textContent`
	watch := `(() => { window.seen = new Set(); const e = document.querySelector('[data-text="user.bestEver"]');
		new MutationObserver(() => window.seen.add(e.textContent)).observe(e, {childList: true, characterData: true, subtree: true}); return true; })()`
	for _, b := range []*tab{alice, other} {
		b.until("it is live", `!document.getElementById("live").hidden`)
		eval[bool](b, watch)
	}
	if eval[string](alice, shown) == eval[string](other, shown) {
		t.Fatal("their figures are the same: nothing can be seen")
	}
	f.mu.Lock()
	for i := range f.users {
		f.users[i].BestEver *= 1000
	}
	f.mu.Unlock()
	for _, b := range []*tab{alice, other} {
		b.until("a figure that is new", "window.seen.size > 0")
	}
	for range 3 { // of the other's as well
		updated := eval[string](alice, `document.querySelector('[data-text="updated"]').textContent`)
		alice.until("the next second", fmt.Sprintf(`document.querySelector('[data-text="updated"]').textContent !== %q`, updated))
	}
	for _, b := range []*tab{alice, other} {
		if n := eval[int](b, "window.seen.size"); n != 1 {
			t.Errorf("a tab has shown %d figures", n)
		}
	}
}

// Script and server write hash rates alike.
func TestBrowserFormats(t *testing.T) {
	address, end := serving(t, aPool())
	defer end()
	b := newTab(browser(t), t)
	b.do(chromedp.Navigate(address + "/"))
	var rates []float64
	for exponent := -3; exponent <= 33; exponent++ {
		for _, digits := range []float64{1, 1.0051, 1.2345, 9.994, 9.9951, 9.9996} { // none halfway between two
			v := digits
			for range exponent {
				v *= 10
			}
			for range -exponent {
				v /= 10
			}
			rates = append(rates, v)
		}
	}
	list, err := json.Marshal(rates)
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range eval[[]string](b, string(list)+".map(ckpoolFigures.rate)") {
		if want := figures.Rate(rates[i]); got != want {
			t.Errorf("%g: %q, the server writes %q", rates[i], got, want)
		}
	}
	for expression, want := range map[string]string{"rate(NaN)": "0 H/s", "rate(Infinity)": "999 QH/s", "rate(-1)": "0 H/s", "percent(null)": "–", "percent(0.005)": "0.5%", "percent(0.001)": "0.1%", "percent(1)": "100%", "percent(0)": "0%"} {
		if got := eval[string](b, "ckpoolFigures."+expression); got != want {
			t.Errorf("%s: %q, want %q", expression, got, want)
		}
	}
}

// Search finds a user by name and by part of it.
func TestBrowserSearch(t *testing.T) {
	address, end := serving(t, aPool())
	defer end()
	b := newTab(browser(t), t)
	for _, text := range []string{"alice", "lic", "alice.rig1"} {
		b.do(chromedp.Navigate(address+"/blocks"), chromedp.SendKeys("input[type=search]", text+"\r"), chromedp.WaitVisible(`main a[href="/user/alice"]`),
			chromedp.Click(`main a[href="/user/alice"]`), chromedp.WaitVisible("[data-part=workers]"))
	}
	b.quiet("/search")
}

// script runs in the page.
func script(text string) chromedp.Action[chromedp.Void] {
	return chromedp.Evaluate[chromedp.Void](text)
}

// command is one of the browser's protocol.
func command[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

func quoted(text string) string {
	b, _ := json.Marshal(text) // a string
	return string(b)
}

// Somebody logs in with a one-time code, sees all pages, and logs out, as a browser
// without scripts lets people do it.
func TestBrowserAccounts(t *testing.T) {
	p := everyone(t)
	s, address := serveAccounts(t, p)
	b := newTab(browser(t), t)
	b.do(chromedp.Navigate(address + "/"))
	b.until("the form", `location.pathname === "/login" && document.querySelector("[name=code]") !== null`)
	look := func(path string) {
		t.Helper()
		for _, width := range []int64{1200, 360} {
			b.do(chromedp.EmulateViewport(width, 800), chromedp.Navigate(address+path))
			b.fits(path, width)
		}
		b.accessible(path)
		b.quiet(path)
	}
	look("/login")
	p.set("carol", func(k *credentials.Known) { k.Role = credentials.Admin })
	secret, err := credentials.ParseSecret(p.known["carol"].Secret)
	if err != nil {
		t.Fatal(err)
	}
	code := codeOf(t, secret, time.Now())
	eval[bool](b, fmt.Sprintf(`(() => {
		for (const [name, value] of Object.entries({name: "carol", password: %q, code: %q})) document.querySelector("[name=" + name + "]").value = value;
		document.querySelector("main form").requestSubmit();
		return true;
	})()`, goodPassword, code))
	b.until("the account", `location.pathname === "/account" && document.body.innerText.includes("20999999.99999999 BTC")`)
	for _, path := range accountPaths(s) {
		look(path)
	}
	eval[bool](b, `(() => { document.querySelector(".who").requestSubmit(); return true; })()`)
	b.until("the form", `location.pathname === "/login"`)
	b.do(chromedp.Navigate(address + "/account"))
	b.until("the form again", `location.pathname === "/login"`)
}

// serveAccounts serves people until the test ends.
func serveAccounts(t *testing.T, p *people) (s *Accounts, address string) {
	t.Helper()
	s, _ = accountServer(t, p, Place{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s, "http://" + l.Addr().String()
}

// fits tests that nothing is wider than the screen.
func (b *tab) fits(what string, width int64) {
	b.t.Helper()
	if wide := eval[float64](b, "document.documentElement.scrollWidth"); wide > float64(width) {
		b.t.Errorf("%s is %v wide on a screen of %d", what, wide, width)
	}
}

// accessible tests that everybody can use the page.
func (b *tab) accessible(what string) {
	b.t.Helper()
	b.do(script(axe))
	for _, v := range eval[[]struct {
		ID, Impact, Help string
		Nodes            []struct{ HTML string }
	}](b, "axe.run().then(r => r.violations)") {
		if v.Impact == "serious" || v.Impact == "critical" {
			b.t.Errorf("%s: %s: %s: %+v", what, v.ID, v.Help, v.Nodes)
		}
	}
}

// What staff and users do is done by clicks and keys, on a phone, in a browser without
// scripts: a payout is planned and sent in two steps, a payment is cancelled, a setting made,
// a least payout changed, one-time codes turned on and wanted from then on.
func TestBrowserActs(t *testing.T) {
	p := everyone(t)
	_, address := serveAccounts(t, p)
	b := newTab(browser(t), t)
	const width = 360
	b.do(command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}), chromedp.EmulateViewport(width, 800))
	page := func(path string) {
		t.Helper()
		b.do(chromedp.Navigate(address + path))
		b.until(path, "location.pathname === "+quoted(path)+" && document.readyState === 'complete'")
	}
	keys := func(selector, text string) { b.do(chromedp.SendKeys(selector, text)) }
	at := func(what, path, text string) {
		t.Helper()
		b.until(what, "location.pathname === "+quoted(path)+" && document.body.innerText.includes("+quoted(text)+")")
		b.fits(what, width)
		b.quiet(what)
	}
	did := func(want string) {
		t.Helper()
		if got := p.changes(); got != want {
			t.Errorf("it does %q, want %q", got, want)
		}
	}
	login := func(code string) {
		t.Helper()
		page("/login")
		keys("[name=name]", "accountant")
		keys("[name=password]", goodPassword)
		if code != "" {
			keys("[name=code]", code)
		}
		b.do(chromedp.Click("main button"))
	}
	login("")
	at("the account", "/account", "20999999.99999999 BTC")

	page("/staff/payout")
	send := `form[action="/staff/payout"][method=post] `
	b.do(chromedp.Click(send + "button:not([formaction])")) // nobody has agreed to it
	page("/staff/payout")
	did("")
	b.do(chromedp.Click(send+"[name=yes]"), chromedp.Click(send+"button:not([formaction])"))
	at("the payments", "/staff/payments", "The payout has begun")
	did("accountant pays at ")
	b.do(chromedp.Click("details summary"), chromedp.Click("details [name=yes]"), chromedp.Click(`details [formaction="/staff/payments/cancel"]`))
	at("the payments", "/staff/payments", "The payment is cancelled")
	did("accountant cancels 1")

	page("/staff/settings")
	form := `form[action="/staff/settings"] `
	keys(form+"[name=value]", "0.9%")
	keys(form+"[name=from]", "900000")
	b.do(chromedp.Click(form+"[name=yes]"), chromedp.Click(form+"button"))
	at("the pool's settings", "/staff/settings", "The setting is made")
	did(`accountant sets fee of "" to 0.9% from "900000"`)

	page("/settings")
	keys("[name=minimum]", "0.0012")
	b.do(chromedp.Click(`form[action="/settings/minimum"] button`))
	at("the settings", "/settings", "That is the minimum from now on")
	did("accountant is paid from 120000")
	keys(`form[action="/settings/codes"] [name=current]`, goodPassword)
	b.do(chromedp.Click(`form[action="/settings/codes"] button`))
	at("the offer", "/settings/codes", p.offeredSecret().Base32())
	if !eval[bool](b, `(() => { const i = document.querySelector(".connect img"); return i.complete && i.naturalWidth > 0; })()`) {
		t.Error("there is no QR code")
	}
	keys("[name=code]", codeOf(t, p.offeredSecret(), time.Now()))
	b.do(chromedp.Click("main form button"))
	at("the recovery codes", "/settings/codes/confirm", "good for one login without the app")
	did("accountant is offered a secret; accountant has one-time codes and 10")
	b.do(chromedp.Click(".who button"))
	at("logged out", "/login", "Log in")
	login("")
	b.until("no code", `location.pathname === "/login" && document.body.innerText.includes("a one-time code is wanted too")`)
	b.mu.Lock()
	b.complaints = nil // of a refusal, which is what it should be
	b.mu.Unlock()
	login(codeOf(t, p.offeredSecret(), time.Now().Add(30*time.Second)))
	at("the account", "/account", "20999999.99999999 BTC")
}
