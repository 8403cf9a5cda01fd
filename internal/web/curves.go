package web

import (
	"context"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/ckpool/ckpool/internal/history"
	"github.com/ckpool/ckpool/internal/operator"
)

// Curves are what figures were over a time, such as [history.History].
type Curves interface {
	Pool(from, to time.Time, most int, figures ...string) (history.Curve, error)
	User(name string, from, to time.Time, most int) (history.Curve, error)
	Worker(name string, from, to time.Time, most int) (history.Curve, error)
	// Latencies are those of the last time of so long.
	Latencies(within time.Duration) operator.Latencies
}

// ranges are the times that curves are asked for.
var ranges = map[string]time.Duration{
	"day": day, "week": 7 * day, "month": 30 * day, "year": 365 * day,
}

// maxPoints is how many values a curve has at most.
const maxPoints = 720

// curveAnswer is a curve: value i of a figure is of the time from start and i periods on.
type curveAnswer struct {
	Start   time.Time      `json:"start"`
	Period  float64        `json:"period_seconds"`
	Figures map[string]any `json:"figures"` // lists of numbers, null where nothing is known
}

func (s *Server) apiPoolCurve(_ context.Context, r *http.Request, now time.Time) (any, error) {
	names := []string{history.HashRate, history.Miners, history.Users, history.Accepted, history.Rejected, history.ShareP99, history.LastNotify}
	return curve(r, now, names, func(from time.Time) (history.Curve, error) {
		return s.options.Curves.Pool(from, now, maxPoints, names...)
	})
}

func (s *Server) apiUserCurve(_ context.Context, r *http.Request, now time.Time) (any, error) {
	u, err := s.user(r.PathValue("user"), now)
	if err != nil {
		return nil, err
	}
	return curve(r, now, []string{history.HashRate}, func(from time.Time) (history.Curve, error) {
		return s.options.Curves.User(u.User, from, now, maxPoints)
	})
}

func (s *Server) apiWorkerCurve(ctx context.Context, r *http.Request, now time.Time) (any, error) {
	u, err := s.user(r.PathValue("user"), now)
	if err != nil {
		return nil, err
	}
	w, err := s.worker(ctx, u.User, r.PathValue("worker"), now)
	if err != nil {
		return nil, err
	}
	return curve(r, now, []string{history.HashRate}, func(from time.Time) (history.Curve, error) {
		return s.options.Curves.Worker(w.Worker, from, now, maxPoints)
	})
}

// curve answers with the figures of names over the range that is asked for, and with what
// part of shares was refused where that can be told.
func curve(r *http.Request, now time.Time, names []string, read func(from time.Time) (history.Curve, error)) (any, error) {
	name := r.URL.Query().Get("range")
	if name == "" {
		name = "day"
	}
	back, ok := ranges[name]
	if !ok {
		return nil, &failure{http.StatusBadRequest, `"range" is day, week, month or year`}
	}
	c, err := read(now.Add(-back))
	if err != nil {
		return nil, &failure{http.StatusServiceUnavailable, err.Error()}
	}
	if first := firstKnown(c.Values[0]); first > len(c.Values[0])/2 { // what there is fits shorter periods
		c, err = read(c.Start.Add(time.Duration(first-1) * c.Period))
	}
	if err != nil {
		return nil, &failure{http.StatusServiceUnavailable, err.Error()}
	}
	a := curveAnswer{Start: c.Start.UTC(), Period: c.Period.Seconds(), Figures: make(map[string]any)}
	of := make(map[string][]float64)
	for i, name := range names {
		of[name] = c.Values[i]
		a.Figures[name] = numbers(c.Values[i])
	}
	if accepted, rejected := of[history.Accepted], of[history.Rejected]; accepted != nil {
		parts := make([]float64, len(accepted))
		for i := range parts {
			parts[i] = rejected[i] / (accepted[i] + rejected[i]) // NaN of nothing
		}
		a.Figures["rejected_part"] = numbers(parts)
	}
	return a, nil
}

// firstKnown is the place of the first value, 0 where there is none.
func firstKnown(values []float64) int {
	return max(slices.IndexFunc(values, func(v float64) bool { return !math.IsNaN(v) }), 0)
}

// numbers are values for JSON.
func numbers(values []float64) []*float64 {
	list := make([]*float64, len(values))
	for i, v := range values {
		list[i] = known(v, !math.IsNaN(v) && !math.IsInf(v, 0))
	}
	return list
}
