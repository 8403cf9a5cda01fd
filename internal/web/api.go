package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/luck"
)

// failure is an answer that tells why there is no other.
type failure struct {
	status int
	text   string
}

func (f *failure) Error() string { return f.text }

var (
	errNoUser   = &failure{http.StatusNotFound, "there is no such user"}
	errNoWorker = &failure{http.StatusNotFound, "there is no such worker"}
	errNoPage   = &failure{http.StatusNotFound, "there is nothing here"}
	errNoWork   = &failure{http.StatusServiceUnavailable, "the pool has no work yet"}
	errStarting = &failure{http.StatusServiceUnavailable, "the pool has not counted yet"}
)

// api makes the value of an answer.
type api func(ctx context.Context, r *http.Request, now time.Time) (any, error)

// apiRoutes are all of /api/v1, by pattern. The description that the API gives of itself
// has the same.
func (s *Server) apiRoutes() map[string]api {
	return map[string]api{
		"/api/v1/pool":                                  s.apiPool,
		"/api/v1/pool/history":                          s.apiPoolCurve,
		"/api/v1/users/{user}/history":                  s.apiUserCurve,
		"/api/v1/users/{user}/workers/{worker}/history": s.apiWorkerCurve,
		"/api/v1/users":                                 s.apiUsers,
		"/api/v1/users/{user}":                          s.apiUser,
		"/api/v1/users/{user}/workers":                  s.apiWorkers,
		"/api/v1/users/{user}/workers/{worker}":         s.apiWorker,
		"/api/v1/users/{user}/work":                     s.apiWork,
		"/api/v1/best":                                  s.apiBest,
		"/api/v1/blocks":                                s.apiBlocks,
		"/api/v1/nodes":                                 s.apiNodes,
		"/api/v1/connect":                               s.apiConnect,
	}
}

func (s *Server) apiPool(ctx context.Context, _ *http.Request, now time.Time) (any, error) {
	a, err := s.keptPool(ctx, now)
	if err == nil && a.Work == nil {
		err = errNoWork
	}
	return a, err
}

// keptPool is what answers are made of: the pool as it is or was a moment ago.
func (s *Server) keptPool(ctx context.Context, now time.Time) (poolAnswer, error) {
	return s.pools.get(ctx, "", func() (poolAnswer, error) { return s.pool(ctx, now) })
}

// pool is what is known of the pool at now.
func (s *Server) pool(ctx context.Context, now time.Time) (poolAnswer, error) {
	src := s.options.Source
	p := src.Pool(now)
	var made *control.MinersWork
	w, ok, err := src.Work(ctx, "")
	if err != nil {
		return poolAnswer{}, err
	}
	if ok {
		made = &w
	}
	bests, err := s.keptBests(ctx)
	if err != nil {
		return poolAnswer{}, err
	}
	return s.poolAnswer(&p, bests, src.Rejects(), made, src.Nodes(), now), nil
}

// user is one that is not hidden.
func (s *Server) user(name string, now time.Time) (control.User, error) {
	u, ok := s.options.Source.User(name, now)
	if !ok || s.hidden(u.User) {
		return u, errNoUser
	}
	return u, nil
}

func (s *Server) apiUser(ctx context.Context, r *http.Request, now time.Time) (any, error) {
	u, err := s.user(r.PathValue("user"), now)
	if err != nil {
		return nil, err
	}
	a, err := s.keptUser(ctx, &u, now)
	return a, err
}

// keptUser is one as it is or was a moment ago: streams tell of it in many turns, and whatever
// its workers cost to look at, they are counted alone.
func (s *Server) keptUser(ctx context.Context, u *control.User, now time.Time) (userAnswer, error) {
	return s.shown.get(ctx, u.User, func() (userAnswer, error) {
		return showUser(u, s.options.Source.WorkerCount(u.User), now), nil
	})
}

func (s *Server) apiUsers(ctx context.Context, r *http.Request, now time.Time) (any, error) {
	list, err := s.keptUsers(ctx, now)
	if err != nil {
		return nil, err
	}
	if search := strings.ToLower(r.URL.Query().Get("search")); search != "" {
		list = slices.DeleteFunc(slices.Clone(list), func(u control.User) bool { return !strings.Contains(strings.ToLower(u.User), search) })
	}
	return paged(r, list, func(u *control.User) userSummary {
		return userSummary{u.User, perSecond(u.DSPS60), u.Workers, at(u.LastShare), u.BestEver}
	})
}

// keptUsers are all that are not hidden, the fastest first. They are not to be changed.
func (s *Server) keptUsers(ctx context.Context, now time.Time) ([]control.User, error) {
	return s.users.get(ctx, "", func() ([]control.User, error) {
		list := slices.DeleteFunc(s.options.Source.Users(now), func(u control.User) bool { return s.hidden(u.User) })
		slices.SortStableFunc(list, func(a, b control.User) int { return compare(b.DSPS60, a.DSPS60) })
		return list, nil
	})
}

// userSummary is one of /api/v1/users.
type userSummary struct {
	User      string     `json:"user"`
	Hashrate  float64    `json:"hashrate_1h"`
	Miners    int64      `json:"miners"`
	LastShare *time.Time `json:"last_share"`
	BestEver  float64    `json:"best_ever"`
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// workers are those of a user with their connections, in the order that a page shows
// them: connected ones first, the fastest before others. They are not to be changed.
func (s *Server) workers(ctx context.Context, user string, now time.Time) ([]workerAnswer, error) {
	return s.crews.get(ctx, user, func() ([]workerAnswer, error) {
		list := s.options.Source.Workers(user, now)
		connections, err := s.options.Source.Connections(ctx, user)
		if err != nil {
			return nil, err
		}
		of := make(map[string][]control.Connection)
		for _, c := range connections {
			of[c.Worker] = append(of[c.Worker], c)
		}
		answers := make([]workerAnswer, len(list))
		for i := range list {
			answers[i] = showWorker(&list[i], of[list[i].Worker])
		}
		return answers, sortWorkers(answers, "")
	})
}

func (s *Server) apiWorkers(ctx context.Context, r *http.Request, now time.Time) (any, error) {
	u, err := s.user(r.PathValue("user"), now)
	if err != nil {
		return nil, err
	}
	list, err := s.workers(ctx, u.User, now)
	if err != nil {
		return nil, err
	}
	if order := r.URL.Query().Get("sort"); order != "" {
		list = slices.Clone(list)
		if err := sortWorkers(list, order); err != nil {
			return nil, err
		}
	}
	return paged(r, list, func(w *workerAnswer) workerAnswer { return *w })
}

// workerOrders are what workers can be sorted by, the largest first but for names.
var workerOrders = map[string]func(a, b *workerAnswer) int{
	"": func(a, b *workerAnswer) int {
		switch {
		case a.Connected == b.Connected:
			return compare(b.Hashrate.H1, a.Hashrate.H1)
		case a.Connected:
			return -1
		}
		return 1
	},
	"name":       func(a, b *workerAnswer) int { return strings.Compare(a.Worker, b.Worker) },
	"hashrate":   func(a, b *workerAnswer) int { return compare(b.Hashrate.H1, a.Hashrate.H1) },
	"best":       func(a, b *workerAnswer) int { return compare(b.BestEver, a.BestEver) },
	"last_share": func(a, b *workerAnswer) int { return latest(b.LastShare).Compare(latest(a.LastShare)) },
	"rejects":    func(a, b *workerAnswer) int { return compare(b.RejectedPart(), a.RejectedPart()) },
}

func latest(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// RejectedPart is the part of its submits that were refused, 0 to 1.
func (w *workerAnswer) RejectedPart() float64 {
	n := w.rejected()
	if n == 0 {
		return 0
	}
	return float64(n) / float64(n+w.Accepted)
}

func (w *workerAnswer) rejected() (n int64) {
	for _, r := range w.Rejects {
		n += r.Shares
	}
	return n
}

func sortWorkers(list []workerAnswer, order string) error {
	by, ok := workerOrders[order]
	if !ok {
		return &failure{http.StatusBadRequest, `"sort" is name, hashrate, best, last_share or rejects`}
	}
	slices.SortStableFunc(list, func(a, b workerAnswer) int { return by(&a, &b) })
	return nil
}

func (s *Server) apiWorker(ctx context.Context, r *http.Request, now time.Time) (any, error) {
	u, err := s.user(r.PathValue("user"), now)
	if err != nil {
		return nil, err
	}
	return s.worker(ctx, u.User, r.PathValue("worker"), now)
}

// worker is one of a user.
func (s *Server) worker(ctx context.Context, user, name string, now time.Time) (workerAnswer, error) {
	list, err := s.workers(ctx, user, now)
	if err != nil {
		return workerAnswer{}, err
	}
	for _, w := range list {
		if w.Worker == name {
			return w, nil
		}
	}
	return workerAnswer{}, errNoWorker
}

func (s *Server) apiWork(ctx context.Context, r *http.Request, now time.Time) (any, error) {
	u, err := s.user(r.PathValue("user"), now)
	if err != nil {
		return nil, err
	}
	w, ok, err := s.options.Source.Work(ctx, u.User)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, &failure{http.StatusServiceUnavailable, "no miner of this user has work at present"}
	}
	return showWork(&w), nil
}

// workAnswer is /api/v1/users/USER/work.
type workAnswer struct {
	Worker            string         `json:"worker"`
	Job               string         `json:"job"`
	Made              time.Time      `json:"made"`
	Height            *int64         `json:"height"`
	PrevHash          string         `json:"previous_block"`
	Version           string         `json:"version"`
	Bits              string         `json:"bits"`
	NTime             string         `json:"ntime"`
	NetworkDifficulty float64        `json:"network_difficulty"`
	Reward            int64          `json:"reward"`
	Fees              *int64         `json:"fees"`
	Transactions      *int64         `json:"transactions"`
	Coinbase          string         `json:"coinbase"`
	TxID              string         `json:"txid"`
	Extranonce1       string         `json:"extranonce1"`
	Extranonce2Len    int64          `json:"extranonce2_length"`
	ScriptSig         string         `json:"script_sig"`
	Text              string         `json:"text"`
	Outputs           []outputAnswer `json:"outputs"`
	Branch            []string       `json:"merkle_branch"`
	MerkleRoot        string         `json:"merkle_root"`
	Check             string         `json:"merkle_check"` // ok, differs or unknown
}

type outputAnswer struct {
	Value   int64   `json:"value"` // satoshis
	Address *string `json:"address"`
	Script  string  `json:"script"`
}

func showWork(w *control.MinersWork) workAnswer {
	a := workAnswer{
		Worker: w.Worker, Job: w.Job, Made: w.Made.UTC(), Height: known(w.Height, w.Height > 0), PrevHash: w.PrevHash, Version: w.Version,
		Bits: w.Bits, NTime: w.NTime, NetworkDifficulty: w.NetworkDifficulty, Reward: w.Reward, Fees: known(w.Fees, w.Fees >= 0),
		Transactions: known(w.Transactions, w.Transactions >= 0), Coinbase: w.Coinbase, TxID: w.TxID, Extranonce1: w.Extranonce1,
		Extranonce2Len: w.Extranonce2Len, ScriptSig: w.ScriptSig, Text: w.Text, Outputs: []outputAnswer{}, Branch: append([]string{}, w.Branch...), MerkleRoot: w.MerkleRoot, Check: w.Check,
	}
	for _, o := range w.Outputs {
		a.Outputs = append(a.Outputs, outputAnswer{o.Value, known(o.Address, o.Address != ""), o.Script})
	}
	return a
}

// bestAnswer is one of /api/v1/best.
type bestAnswer struct {
	User      string  `json:"user"`
	BestShare float64 `json:"best_share"` // of the round
	BestEver  float64 `json:"best_ever"`
}

func (s *Server) keptBests(ctx context.Context) ([]control.BestShares, error) {
	return s.bests.get(ctx, "", func() ([]control.BestShares, error) { return s.options.Source.BestShares(), nil })
}

func (s *Server) best(ctx context.Context) ([]bestAnswer, error) {
	all, err := s.keptBests(ctx)
	list := []bestAnswer{}
	for _, b := range all {
		if !s.hidden(b.User) {
			list = append(list, bestAnswer{b.User, b.BestShare, b.BestEver})
		}
	}
	return list, err
}

func (s *Server) apiBest(ctx context.Context, _ *http.Request, _ time.Time) (any, error) {
	list, err := s.best(ctx)
	return struct {
		Users []bestAnswer `json:"users"`
	}{list}, err
}

// blocks are the newest first, with how lucky the pool was.
func (s *Server) blocks() ([]blockAnswer, luck.Range) {
	list := []blockAnswer{}
	for _, b := range slices.Backward(s.options.Source.Blocks()) {
		list = append(list, s.showBlock(&b))
	}
	return list, setLuck(list)
}

func (s *Server) apiBlocks(_ context.Context, r *http.Request, _ time.Time) (any, error) {
	list, _ := s.blocks()
	return paged(r, list, func(b *blockAnswer) blockAnswer { return *b })
}

func (s *Server) nodes() []nodeAnswer {
	list := []nodeAnswer{}
	for i, n := range s.options.Source.Nodes() {
		list = append(list, showNode(i+1, &n))
	}
	return list
}

func (s *Server) apiNodes(context.Context, *http.Request, time.Time) (any, error) {
	return struct {
		Nodes []nodeAnswer `json:"nodes"`
	}{s.nodes()}, nil
}

func (s *Server) apiConnect(_ context.Context, r *http.Request, _ time.Time) (any, error) {
	return struct {
		Listeners []listenerAnswer `json:"listeners"`
	}{s.listeners(s.hostOf(r))}, nil
}

// page is a part of a list.
type page[T any] struct {
	Items []T     `json:"items"`
	Total int     `json:"total"`
	Next  *string `json:"next"` // "cursor" of the next part; null: this is the last
}

const (
	defaultPage = 100
	maxPage     = 1000
)

// asked is what part of a list a request wants, by "limit" and "cursor".
func asked(r *http.Request) (from, limit int, err error) {
	if limit, err = number(r, "limit", defaultPage, maxPage); err == nil {
		from, err = number(r, "cursor", 0, 1<<31-1)
	}
	return from, limit, err
}

// partOf is a part of a list of so many, which begins at from.
func partOf[T any](items []T, from, total int) page[T] {
	p := page[T]{Items: append([]T{}, items...), Total: total}
	if to := from + len(items); to < total && len(items) > 0 { // who asks for nothing is not sent round and round
		p.Next = known(strconv.Itoa(to), true)
	}
	return p
}

// partWithin is that of a list from which fewer may come than are counted.
func partWithin[T any](items []T, from, limit, total int) page[T] {
	p := partOf(items, from, total)
	if p.Next = nil; from+limit < total && limit > 0 {
		p.Next = known(strconv.Itoa(from+limit), true)
	}
	return p
}

// paged is the part of a list that a request asks for.
func paged[T, U any](r *http.Request, list []T, show func(*T) U) (page[U], error) {
	from, limit, err := asked(r)
	if err != nil {
		return page[U]{}, err
	}
	from = min(from, len(list))
	items := []U{}
	for i := range list[from:min(from+limit, len(list))] {
		items = append(items, show(&list[from+i]))
	}
	return partOf(items, from, len(list)), nil
}

// number is that of a query, def where there is none.
func number(r *http.Request, name string, def, most int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return def, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, &failure{http.StatusBadRequest, strconv.Quote(name) + " is a whole number from 0 to " + strconv.Itoa(most)}
	}
	return n, nil
}

// listeners are what miners that reach this machine as host are pointed at.
func (s *Server) listeners(host string) []listenerAnswer {
	return listenersOf(s.options.Config(), s.options.Source.Listeners(), host)
}

// listenersOf are those of a configuration, with how many miners came by each in its order.
func listenersOf(c *config.Config, miners control.Counts, host string) []listenerAnswer {
	list := []listenerAnswer{}
	for i, l := range c.Servers {
		if l.Links != 0 {
			continue
		}
		a := listenerAnswer{TLS: l.TLSCert != "", MinDifficulty: l.MinDiff, StartDifficulty: max(l.StartDiff, l.HighDiff)}
		at := l.PublicURL
		if at == "" {
			at = l.URL
		}
		if scheme, rest, ok := strings.Cut(at, "://"); ok {
			at = rest
			a.TLS = a.TLS || l.PublicURL != "" && strings.Contains(scheme, "s") && scheme != "stratum+tcp"
		}
		a.Host, a.Port = splitHostPort(at)
		if ip, err := netip.ParseAddr(a.Host); l.PublicURL == "" && (a.Host == "" || a.Host == "*" || err == nil) {
			if err != nil || ip.IsUnspecified() || !ip.IsLoopback() || host != "" {
				a.Host = host
			}
		}
		if i < len(miners) {
			a.Miners = miners[i].Count
		}
		scheme := "stratum+tcp"
		if a.TLS {
			scheme = "stratum+ssl"
		}
		shown := a.Host
		if strings.Contains(shown, ":") {
			shown = "[" + shown + "]"
		}
		a.URL = scheme + "://" + shown + ":" + a.Port
		list = append(list, a)
	}
	return list
}

// splitHostPort is an address without its port, and the port, 3333 if it names none.
func splitHostPort(address string) (host, port string) {
	u, err := url.Parse("//" + address)
	if err != nil {
		return address, "3333"
	}
	if port = u.Port(); port == "" {
		port = "3333"
	}
	return u.Hostname(), port
}

// encode is a value in JSON, as answers have it.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(true)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// statusOf is that of an error.
func statusOf(err error) int {
	var f *failure
	if errors.As(err, &f) {
		return f.status
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return http.StatusServiceUnavailable // who was asked did not answer in time
	}
	return http.StatusInternalServerError
}
