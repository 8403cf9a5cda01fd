package compare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/bench"
)

const (
	minersOfUser = 9
	pageReaders  = 1000 // who look every five seconds
	pageStreams  = 200
	ofAddress    = 40 // readers of an address, which a pool lets have some more
)

// page: what one tab costs and how long it loads, what many readers cost, and that open
// streams move neither shares nor blocks.
func (r *run) page(ctx context.Context, s *server) error {
	var percent [3]float64
	for i, look := range []struct {
		readers int
		do      func(ctx context.Context, p *reader) error
	}{{0, nil}, {1, func(ctx context.Context, p *reader) error { return r.tab(ctx, s, p) }}, {pageReaders, r.again}} {
		runtime.GC()
		end := r.beside(ctx, s, look.readers, look.do)
		o := s.options(r.Size.Most)
		o.Workers, o.Addresses = max(r.Size.Most/minersOfUser, 1), "main"
		idle, err := bench.Idle(ctx, bench.IdleConfig{Options: o, Duration: 2 * r.Size.Period})
		if err = errors.Join(err, end()); err != nil {
			return err
		}
		r.report.fault(s.kind, idle.Failed(), "idle miners", idle)
		percent[i] = 100 * idle.Server.CPU / idle.Seconds
	}
	r.report.add("page CPU", s.kind, max(percent[1]-percent[0], 0))
	r.report.add("page readers CPU", s.kind, max(percent[2]-percent[0], 0))

	for _, beside := range []string{" quiet", ""} {
		end := func() error { return nil }
		if beside == "" {
			end = r.beside(ctx, s, pageStreams, func(ctx context.Context, p *reader) error { return p.stream(ctx) })
		}
		steady, err := r.steady(ctx, s, 0)
		if err != nil {
			return errors.Join(err, end())
		}
		r.report.add("page p99"+beside, s.kind, steady.Latency.P99/1e3)
		blocks, err := r.notify(ctx, s, r.Size.Miners)
		if err = errors.Join(err, end()); err != nil {
			return err
		}
		r.report.add("page last"+beside, s.kind, blocks.Median.Last)
	}
	return nil
}

// reader is a browser.
type reader struct {
	number int
	page   string // URL
	client http.Client
	loaded func(time.Duration) // notes how long all of a page took
}

// beside lets so many readers do something until the function that it returns is called,
// which gives the first error of one.
func (r *run) beside(ctx context.Context, s *server, readers int, do func(context.Context, *reader) error) (end func() error) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	errs := make(chan error, readers)
	var longest time.Duration
	var mu sync.Mutex
	for i := range readers {
		from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i/ofAddress))}}
		p := &reader{
			number: i, page: "http://" + s.page, client: http.Client{Transport: &http.Transport{DialContext: from.DialContext}},
			loaded: func(d time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				longest = max(longest, d)
			},
		}
		all.Go(func() {
			defer p.client.CloseIdleConnections()
			if err := do(ctx, p); err != nil && ctx.Err() == nil {
				errs <- fmt.Errorf("reader %d: %w", p.number, err)
			}
		})
	}
	return func() error {
		cancel()
		all.Wait()
		if longest > 0 {
			r.report.add("page load", s.kind, longest.Seconds()*1e3)
		}
		select {
		case err := <-errs:
			return err
		default:
			return nil
		}
	}
}

// tab is a browser's: when all miners are there it loads the page and that of a user, each
// with its curve, and then both are followed.
func (r *run) tab(ctx context.Context, s *server, p *reader) error {
	for {
		var pool struct{ Workers int }
		if err := ask(ctx, s, "poolstats", &pool); err != nil {
			return err
		}
		if pool.Workers >= r.Size.Most {
			break
		}
		if err := sleep(ctx, r.Size.Period/20); err != nil {
			return err
		}
	}
	follow := ctx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTime) // what has begun is measured
	defer cancel()
	var users struct{ Items []struct{ User string } }
	for { // a list is as old as a second
		b, err := p.get(ctx, "/api/v1/users?limit=1")
		if err == nil {
			err = json.Unmarshal(b, &users)
		}
		if err != nil {
			return fmt.Errorf("users: %w, %s", err, b)
		}
		if len(users.Items) > 0 {
			break
		}
		if err := sleep(ctx, r.Size.Period/20); err != nil {
			return fmt.Errorf("no user is listed: %w", err)
		}
	}
	user := users.Items[0].User
	for _, paths := range [][]string{{"/", "/api/v1/pool/history?range=year"}, {"/user/" + user, "/api/v1/users/" + user + "/history?range=month"}} {
		began := time.Now()
		for _, path := range paths {
			if _, err := p.get(ctx, path); err != nil {
				return err
			}
		}
		p.loaded(time.Since(began))
	}
	streamed := make(chan error, 1)
	go func() { streamed <- p.stream(follow) }()
	return errors.Join(r.again(follow, p), <-streamed)
}

// again looks again and again, as pages do for their lists, readers one after another.
func (r *run) again(ctx context.Context, p *reader) error {
	if err := sleep(ctx, r.Size.Period*time.Duration(p.number)/pageReaders); err != nil {
		return err
	}
	for {
		if _, err := p.get(ctx, "/"); err != nil {
			return err
		}
		if err := sleep(ctx, r.Size.Period); err != nil {
			return err
		}
	}
}

// get is what a path answers.
func (p *reader) get(ctx context.Context, path string) ([]byte, error) {
	reply, err := p.ask(ctx, path)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	return io.ReadAll(reply.Body)
}

// stream follows what is sent.
func (p *reader) stream(ctx context.Context) error {
	reply, err := p.ask(ctx, "/api/v1/stream?page=1")
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if _, err = io.Copy(io.Discard, reply.Body); err == nil && ctx.Err() == nil {
		err = errors.New("the stream ended")
	}
	return err
}

func (p *reader) ask(ctx context.Context, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.page+path, nil)
	if err != nil {
		return nil, err
	}
	reply, err := p.client.Do(request)
	if err != nil {
		return nil, err
	}
	if reply.StatusCode != http.StatusOK {
		reply.Body.Close()
		return nil, fmt.Errorf("%s: %s", path, reply.Status)
	}
	return reply, nil
}
