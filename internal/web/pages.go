package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/luck"
	"github.com/ckpool/ckpool/internal/users"
)

//go:embed pages
var templates embed.FS

//go:embed assets
var assets embed.FS

//go:embed openapi.json
var openAPI []byte

//go:embed accounts.json
var accountsAPI []byte

// pages renders what people see. All fields are immutable.
type pages struct {
	base    string
	account bool   // they are those of accounts
	edge    bool   // they are those of an instance without a pool
	version string // of the assets: it is in their addresses, so that they may be kept for ever
	set     map[string]*template.Template
	assets  http.Handler
}

const pageType = "text/html; charset=utf-8"

// newPages reads the pages of a directory, all in the one layout.
func newPages(base, dir string) (*pages, error) {
	p := &pages{base: base, account: dir != "pages", set: make(map[string]*template.Template)}
	sum := sha256.New()
	if err := fs.WalkDir(assets, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := assets.ReadFile(name)
		sum.Write(b)
		return err
	}); err != nil {
		return nil, err
	}
	p.version = hex.EncodeToString(sum.Sum(nil)[:6])
	p.assets = http.HandlerFunc(p.serveAsset)
	names, err := fs.Glob(templates, dir+"/*.html")
	if err != nil {
		return nil, err
	}
	if p.account {
		names = append(names, "pages/fail.html")
	}
	for _, file := range names {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name == "layout" {
			continue
		}
		t, err := template.New("layout.html").Funcs(p.functions()).ParseFS(templates, "pages/layout.html", file)
		if err != nil {
			return nil, err
		}
		p.set[name] = t
	}
	return p, nil
}

// functions are those of templates.
func (p *pages) functions() template.FuncMap {
	return template.FuncMap{
		"link":     p.link,
		"asset":    func(name string) string { return p.base + "/assets/" + p.version + "/" + name },
		"count":    func(n int64) string { return figures.Count(n) },
		"number":   figures.Number,
		"rate":     figures.Rate,
		"percent":  figures.Percent,
		"bitcoins": figures.Bitcoins,
		"short":    figures.Short,
		"worker":   figures.Worker,
		"duration": func(seconds float64) string { return expected(seconds) },
		"ago":      ago,
		"utc":      func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
		"meaning":  func(reason string) string { return meaning[reason][0] },
		"advice":   func(reason string) string { return meaning[reason][1] },
		"ms":       func(seconds *float64) float64 { return *seconds * 1000 },
		"place":    func(i int) int { return i + 1 },
		"qr":       func(i int) string { return p.link("qr", strconv.Itoa(i+1)) },
		"deref":    func(s *string) string { return *s },
		"deref64":  func(n *int64) int64 { return *n },
		"ppm": func(n int64) string {
			return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%d.%04d", n/10_000, n%10_000), "0"), ".")
		},
		"exact":  func(text string) string { return figures.Number(exactly(text)) },
		"things": func(n int, kind string) string { return figures.Things(int64(n), kind) },
	}
}

// exactly is an exact difficulty as a number to be rounded, 0 of what is none.
func exactly(text string) float64 {
	x, err := difficulty.ParseExact(text)
	if err != nil {
		return 0
	}
	return x.Float64()
}

// link is the address of a page, of whose path elements each is escaped.
func (p *pages) link(elements ...string) string {
	escaped := make([]string, len(elements))
	for i, e := range elements {
		escaped[i] = url.PathEscape(e)
	}
	return p.base + "/" + strings.Join(escaped, "/")
}

// serveAsset is /assets/VERSION/NAME.
func (p *pages) serveAsset(w http.ResponseWriter, r *http.Request) {
	version, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/assets/"), "/")
	b, err := assets.ReadFile("assets/" + name)
	if err != nil || !fs.ValidPath("assets/"+name) {
		http.Error(w, "there is nothing here", http.StatusNotFound)
		return
	}
	keep := "no-cache"
	if version == p.version {
		keep = "public, max-age=31536000, immutable"
	}
	w.Header().Set("Cache-Control", keep)
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(b))
}

// view is what every page has.
type view struct {
	Title   string
	Name    string // of the pool
	Base    string
	Version string // of the assets
	Page    string // name of the page
	Texts   texts
	Alarm   string // why miners have no work, or old work; "" all is well
	Search  string
	Topics  []string // users that the page shows, for its stream
	Now     time.Time
	Account *accountBar // nil: a page of a pool
	Edge    bool        // of an instance without a pool
	Data    any
}

// Text is a figure in its place, which streams bring up to date.
func (v *view) Text(name string) template.HTML {
	return template.HTML(`<span data-text="` + template.HTMLEscapeString(name) + `">` + template.HTMLEscapeString(v.Texts[name]) + `</span>`)
}

func (p *pages) render(name string, v *view) (*answer, error) {
	v.Base, v.Version, v.Page, v.Edge = p.base, p.version, name, p.edge
	var b bytes.Buffer
	if err := p.set[name].Execute(&b, v); err != nil {
		return nil, fmt.Errorf("page %s: %w", name, err)
	}
	return seal(http.StatusOK, pageType, b.Bytes()), nil
}

// fail is a page that tells why there is no other.
func (p *pages) fail(w http.ResponseWriter, status int, text string) {
	v := view{Title: http.StatusText(status), Name: "ckpool", Data: text, Now: time.Now()}
	if p.account {
		v.Name, v.Account = accountsName, &accountBar{}
	}
	a, err := p.render("fail", &v)
	if err != nil {
		http.Error(w, text, status)
		return
	}
	w.Header().Set("Content-Type", a.kind)
	w.WriteHeader(status)
	_, _ = w.Write(a.body)
}

// pageRoutes are the pages by pattern.
func (s *Server) pageRoutes() map[string]func(r *http.Request, now time.Time) (*answer, error) {
	return map[string]func(r *http.Request, now time.Time) (*answer, error){
		"/{$}":                         s.pagePool,
		"/user/{user}":                 s.pageUser,
		"/user/{user}/work":            s.pageWork,
		"/user/{user}/worker/{worker}": s.pageWorker,
		"/blocks":                      s.pageBlocks,
		"/connect":                     s.pageConnect,
		"/search":                      s.pageSearch,
		"/qr/{n}":                      s.serveQR,
	}
}

// oldWork is how old work may be before the page says that something is wrong: a node that
// answers gives new work after each interval.
func (s *Server) oldWork() time.Duration {
	const missed, least = 4, 2 * time.Minute
	return max(missed*s.options.Config().UpdateInterval, least)
}

// view begins a page, and tells the pool's figures as they are for it.
func (s *Server) view(ctx context.Context, title string, now time.Time) (*view, *poolAnswer, error) {
	p, err := s.keptPool(ctx, now)
	if err != nil {
		return nil, nil, err
	}
	v := &view{Title: title, Name: p.Name, Texts: poolTexts(&p, now), Now: now}
	age := time.Duration(0)
	if p.Work != nil {
		age = time.Duration(p.Work.Age * float64(time.Second))
	}
	switch {
	case p.Work == nil:
		v.Alarm = "The pool has no work yet: miners wait."
	case !s.options.Source.Usable():
		v.Alarm = "No Bitcoin node answers: miners have work that is " + figures.Duration(age) + " old."
		if p.Mode == "proxy" {
			v.Alarm = "No pool gives work: miners have work that is " + figures.Duration(age) + " old."
		}
	case age > s.oldWork() && p.Mode != "proxy":
		v.Alarm = "Miners have work that is " + figures.Duration(age) + " old."
	}
	return v, &p, nil
}

// poolPage is what the first page has beside texts.
type poolPage struct {
	Pool      *poolAnswer
	Rejects   []rejectRow
	Best      []bestAnswer
	Blocks    []blockAnswer
	Nodes     []nodeAnswer
	Links     map[string]linkSum
	Proxies   []proxyRow
	Listeners []listenerAnswer
}

type rejectRow struct {
	reject
	Part float64 // of all submits, on the pool's page of those that were refused
}

// linkSum is other pools that are linked, of one role.
type linkSum struct{ Links, Miners int64 }

// proxyRow is another pool that miners work for. Which stays the operator's.
type proxyRow struct {
	Number        int
	Alive, Active bool
	Clients       int64
	Part          float64
}

const shownOnFirst = 10

func (s *Server) pagePool(r *http.Request, now time.Time) (*answer, error) {
	v, p, err := s.view(r.Context(), "", now)
	if err != nil {
		return nil, err
	}
	blocks, _ := s.blocks()
	best, err := s.best(r.Context())
	if err != nil {
		return nil, err
	}
	d := poolPage{Pool: p, Best: best, Blocks: blocks, Nodes: s.nodes(), Rejects: rejectRows(p.Rejects, 0), Listeners: s.listeners(""), Links: make(map[string]linkSum)}
	d.Best, d.Blocks = d.Best[:min(len(d.Best), shownOnFirst)], d.Blocks[:min(len(d.Blocks), shownOnFirst)]
	for _, l := range s.options.Source.Links() {
		sum := d.Links[l.Role]
		d.Links[l.Role] = linkSum{sum.Links + 1, sum.Miners + l.Miners}
	}
	for i, x := range s.options.Source.Proxies() {
		if x.Global {
			d.Proxies = append(d.Proxies, proxyRow{i + 1, x.Alive, x.Active, x.Clients, x.Part})
		}
	}
	v.Data = &d
	return s.pages.render("pool", v)
}

func rejectRows(list []reject, accepted int64) (rows []rejectRow) {
	all := accepted
	for _, k := range list {
		all += k.Shares
	}
	for _, k := range list {
		rows = append(rows, rejectRow{k, float64(k.Shares) / float64(all)})
	}
	return rows
}

// userPage is what a user's page has beside texts.
type userPage struct {
	User    userAnswer
	Workers []workerAnswer
	Total   int
	Sort    string
	From    int
	Next    string
	Waiting bool // connected, and no share yet
}

const workersOnPage = 100

func (s *Server) pageUser(r *http.Request, now time.Time) (*answer, error) {
	u, err := s.user(r.PathValue("user"), now)
	if err != nil {
		return nil, err
	}
	v, _, err := s.view(r.Context(), u.User, now)
	if err != nil {
		return nil, err
	}
	list, err := s.workers(r.Context(), u.User, now)
	if err != nil {
		return nil, err
	}
	order := r.URL.Query().Get("sort")
	if by := slices.Clone(list); sortWorkers(by, order) == nil {
		list = by
	} else {
		order = ""
	}
	from, err := number(r, "cursor", 0, 1<<31-1)
	if err != nil {
		return nil, err
	}
	a := showUser(&u, len(list), now)
	d := userPage{User: a, Total: len(list), Sort: order, From: min(from, len(list)), Waiting: a.Miners > 0 && a.LastShare == nil}
	to := min(d.From+workersOnPage, len(list))
	d.Workers = list[d.From:to]
	if to < len(list) {
		d.Next = fmt.Sprint(to)
	}
	v.Topics = []string{u.User}
	for name, text := range userTexts(&a, now) {
		v.Texts[name] = text
	}
	v.Data = &d
	return s.pages.render("user", v)
}

// workerPage is what a worker's page has.
type workerPage struct {
	User    string
	Worker  workerAnswer
	Rejects []rejectRow
	Silence string // "" where it is as it should be
}

func (s *Server) pageWorker(r *http.Request, now time.Time) (*answer, error) {
	u, err := s.user(r.PathValue("user"), now)
	if err != nil {
		return nil, err
	}
	w, err := s.worker(r.Context(), u.User, r.PathValue("worker"), now)
	if err != nil {
		return nil, err
	}
	v, _, err := s.view(r.Context(), w.Worker, now)
	if err != nil {
		return nil, err
	}
	v.Data = &workerPage{u.User, w, rejectRows(w.Rejects, w.Accepted), silence(&w, now)}
	return s.pages.render("worker", v)
}

// silence tells of a connected worker without shares, and when one was to be expected.
func silence(w *workerAnswer, now time.Time) string {
	if !w.Connected {
		return ""
	}
	if w.LastShare == nil {
		text := "Connected " + ago(w.Since, now) + ", no share yet."
		if w.Difficulty != nil {
			text += fmt.Sprintf(" At difficulty %s a miner of 1 TH/s finds one every %s, one of 100 kH/s every %s.",
				figures.Number(*w.Difficulty), expected(perSecond(*w.Difficulty)/1e12), expected(perSecond(*w.Difficulty)/1e5))
		}
		return text
	}
	quiet := now.Sub(*w.LastShare)
	if w.Expected == nil || quiet.Seconds() < 10**w.Expected || quiet < time.Minute {
		return ""
	}
	return "No share for " + figures.Duration(quiet) + ", expected every " + expected(*w.Expected) + "."
}

func (s *Server) pageWork(r *http.Request, now time.Time) (*answer, error) {
	v, _, err := s.view(r.Context(), "Work of "+r.PathValue("user"), now)
	if err != nil {
		return nil, err
	}
	w, err := s.apiWork(r.Context(), r, now)
	if err != nil {
		return nil, err
	}
	v.Data = struct {
		User string
		Work any
	}{r.PathValue("user"), w}
	return s.pages.render("work", v)
}

// blocksPage is what the page of blocks has.
type blocksPage struct {
	Blocks []blockAnswer
	Total  int
	Next   string
	Luck   luck.Range
}

func (s *Server) pageBlocks(r *http.Request, now time.Time) (*answer, error) {
	v, _, err := s.view(r.Context(), "Blocks", now)
	if err != nil {
		return nil, err
	}
	list, together := s.blocks()
	p, err := paged(r, list, func(b *blockAnswer) blockAnswer { return *b })
	if err != nil {
		return nil, err
	}
	d := blocksPage{Blocks: p.Items, Total: p.Total, Luck: together}
	if p.Next != nil {
		d.Next = *p.Next
	}
	v.Data = &d
	return s.pages.render("blocks", v)
}

// connectPage is what the page on pointing miners here has.
type connectPage struct {
	Listeners []listenerAnswer
	Mode      string
	User      string // what goes there as user name
	Miners    []minerHelp
}

func (s *Server) pageConnect(r *http.Request, now time.Time) (*answer, error) {
	v, p, err := s.view(r.Context(), "Point your miner here", now)
	if err != nil {
		return nil, err
	}
	d := connectPage{Listeners: s.listeners(s.hostOf(r)), Mode: p.Mode, User: "YourName.worker"}
	if p.Mode == "solo" {
		d.User = "YourBitcoinAddress.worker"
	}
	if len(d.Listeners) > 0 {
		d.Miners = helpFor(&d.Listeners[0], d.User)
	}
	v.Data = &d
	return s.pages.render("connect", v)
}

// searchPage is what was found.
type searchPage struct {
	Users []userSummary
	Total int
}

func (s *Server) pageSearch(r *http.Request, now time.Time) (*answer, error) {
	text := strings.TrimSpace(r.URL.Query().Get("search"))
	v, _, err := s.view(r.Context(), "Search", now)
	if err != nil {
		return nil, err
	}
	v.Search = text
	d := searchPage{}
	if text != "" {
		if u, err := s.user(text, now); err == nil {
			d.Users, d.Total = []userSummary{{u.User, perSecond(u.DSPS60), u.Workers, at(u.LastShare), u.BestEver}}, 1
		} else if u, err := s.user(users.UserOf(text), now); err == nil && strings.ContainsAny(text, "._") {
			d.Users, d.Total = []userSummary{{u.User, perSecond(u.DSPS60), u.Workers, at(u.LastShare), u.BestEver}}, 1
		} else {
			found, err := s.apiUsers(r.Context(), r, now)
			if err != nil {
				return nil, err
			}
			if p, ok := found.(page[userSummary]); ok {
				d.Users, d.Total = p.Items[:min(len(p.Items), shownOnFirst*2)], p.Total
			}
		}
	}
	v.Data = &d
	return s.pages.render("search", v)
}
