package metrics

import (
	"net/http"
	"slices"
	"time"

	"github.com/ckpool/ckpool/control"
)

// EdgeHandler is [Handler] for an instance without a pool: a passthrough, a redirector or
// a node, of whose figures there are those of connections and of the pools that serve its
// miners.
func EdgeHandler(source Source) http.Handler {
	return handler(collect(prefix, edgeTable(), func() *scrape {
		now := time.Now()
		return &scrape{source.Figures(now), now}
	}))
}

// shared are metrics of a pool that an instance without one has too.
var shared = []string{
	"build_info", "start_time_seconds", "connections", "connections_entering", "connections_accepted_total", "connections_closed_total", "slow_connections", "unsent_bytes",
}

func edgeTable() []metric[scrape] {
	of := slices.DeleteFunc(table(), func(m metric[scrape]) bool { return !slices.Contains(shared, m.name) })
	return append(of, upstreams()...)
}

// upstreams are what only an instance without a pool has.
func upstreams() []metric[scrape] {
	label := []string{"pool"}
	return []metric[scrape]{
		{name: "upstream_up", help: "1 if there is a link to the pool.", kind: gauge, labels: label, values: eachUpstream(func(u *control.Upstream) float64 { return truth(u.Alive) })},
		{name: "upstream_active", help: "1 if the pool serves new miners.", kind: gauge, labels: label, values: eachUpstream(func(u *control.Upstream) float64 { return truth(u.Active) })},
		{name: "upstream_miners", help: "Miners that the pool serves.", kind: gauge, labels: label, values: eachUpstream(func(u *control.Upstream) float64 { return float64(u.Clients) })},
	}
}

// eachUpstream is the values of a metric by the pool that serves miners.
func eachUpstream(of func(u *control.Upstream) float64) func(*scrape, func(float64, ...string)) {
	return func(s *scrape, give func(float64, ...string)) {
		seen := map[string]bool{}
		for i := range s.Upstreams {
			if u := &s.Upstreams[i]; !seen[u.URL] { // one that is listed twice
				seen[u.URL] = true
				give(of(u), u.URL)
			}
		}
	}
}
