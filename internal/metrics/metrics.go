// Package metrics shows what a pool does, and how its accounts are kept, in the form that
// Prometheus reads. Each scrape is one look at them. Nothing about a user, a worker or an address is in it,
// and how many series there are does not depend on how many of these there are.
package metrics

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/httpserver"
	"github.com/ckpool/ckpool/internal/latency"
	"github.com/ckpool/ckpool/internal/operator"
)

// Source is a pool that is looked at, from any goroutine.
type Source interface {
	Figures(now time.Time) operator.Figures
}

// prefix is that of every metric of a pool.
const prefix = "ckpool_"

// collector is metrics of one kind of source. All fields are immutable.
type collector[S any] struct {
	look  func() *S // a scrape
	table []metric[S]
}

func newCollector(source Source) *collector[scrape] {
	return collect(prefix, table(), func() *scrape {
		now := time.Now()
		return &scrape{source.Figures(now), now}
	})
}

func collect[S any](prefix string, table []metric[S], look func() *S) *collector[S] {
	c := &collector[S]{look, table}
	for i := range c.table {
		m := &c.table[i]
		m.desc = prometheus.NewDesc(prefix+m.name, m.help, m.labels, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector[S]) Describe(to chan<- *prometheus.Desc) {
	for i := range c.table {
		to <- c.table[i].desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector[S]) Collect(to chan<- prometheus.Metric) {
	s := c.look()
	for i := range c.table {
		m := &c.table[i]
		if m.counts != nil {
			to <- constHistogram(m.desc, m.counts(s))
			continue
		}
		m.values(s, func(v float64, labels ...string) {
			for i := range labels { // one that is none would fail the whole answer
				labels[i] = strings.ToValidUTF8(labels[i], "\uFFFD")
			}
			to <- prometheus.MustNewConstMetric(m.desc, m.kind, v, labels...)
		})
	}
}

func constHistogram(desc *prometheus.Desc, k latency.Counts) prometheus.Metric {
	buckets, n := make(map[float64]uint64, len(latency.Bounds)), uint64(0)
	for i, bound := range latency.Bounds {
		n += k.Classes[i]
		buckets[bound.Seconds()] = n
	}
	return prometheus.MustNewConstHistogram(desc, k.Number(), k.Sum.Seconds(), buckets)
}

// Handler answers scrapes with the metrics of a pool, of Go and of the process, at most
// a few at a time.
func Handler(source Source) http.Handler { return handler(newCollector(source)) }

func handler(c prometheus.Collector) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// Server serves /metrics, and nothing else, at an address of its own.
type Server struct {
	Address string // host:port
	Handler http.Handler
	Events  event.Func
}

const (
	// patience is for a process before this one that still has the address.
	patience       = 5 * time.Second
	tellAgain      = time.Minute
	answerTime     = 30 * time.Second
	maxConnections = 16 // at a time
)

// Run serves until the context ends. An address that is in use, such as by the process
// that this one takes over from, is tried again.
func (s *Server) Run(ctx context.Context) {
	l, err := httpserver.Listen(ctx, s.Address, patience)
	for ; err != nil; l, err = httpserver.Listen(ctx, s.Address, tellAgain) {
		if ctx.Err() != nil {
			return
		}
		s.Events.Say(event.Error, fmt.Sprintf("Metrics cannot be served at %s: %v", s.Address, err))
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.Handler)
	h := httpserver.Server{Handler: mux, Connections: maxConnections, AnswerTime: answerTime, Events: s.Events}
	if err := h.Run(ctx, l); err != nil {
		s.Events.Say(event.Error, "Metrics are no longer served: "+err.Error())
	}
}
