package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/page"
)

// upstream is a pool that the instance mines for, and what became of shares there.
type upstream struct {
	control.Proxy
	stats control.ProxyStats
}

// askUpstreams asks for all of them; nil is for one that mines from nodes.
func askUpstreams(ctx context.Context, c *control.Client) ([]upstream, error) {
	var refused *control.RefusedError
	pools, err := c.Proxies(ctx)
	if errors.As(err, &refused) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	stats, err := c.ProxyStats(ctx)
	if err != nil {
		return nil, err
	}
	byID := make(map[int64]control.ProxyStats, len(stats))
	for _, s := range stats {
		byID[s.ID] = s
	}
	list := make([]upstream, len(pools))
	for i, p := range pools {
		list[i] = upstream{p, byID[p.ID]}
	}
	return list, nil
}

// withoutPasswords are the replies that all of them were made of, but for what nobody
// wants in a report.
func withoutPasswords(list []upstream) (pools, stats json.RawMessage) {
	var p control.ProxyList
	var s control.ProxyStatsList
	for _, u := range list {
		u.Pass, u.stats.Pass = "", ""
		p.Proxies, s.Proxies = append(p.Proxies, u.Proxy), append(s.Proxies, u.stats)
	}
	return json.RawMessage(control.Encode(p)), json.RawMessage(control.Encode(s))
}

// shownUpstreams bounds the lines of all of them.
const shownUpstreams = 10

func printUpstreams(l page.Lines, list []upstream) {
	for i := range list[:min(len(list), shownUpstreams)] {
		l.Print("upstream", list[i].text())
	}
	if more := len(list) - shownUpstreams; more > 0 {
		l.Print("", figures.Count(int64(more))+" more: list shows all")
	}
}

// text says first whether there is work.
func (u *upstream) text() string {
	text := page.OneLine(u.URL) + " as " + page.OneLine(u.Auth)
	switch {
	case u.Disabled:
		text += ", disabled"
	case u.Alive && u.Active:
		text += ", in use"
	case u.Alive:
		text += ", ok"
	default:
		text += ", no work"
	}
	if u.Clients > 0 {
		text += ", " + figures.Things(u.Clients, "miner")
	}
	if u.Weight > 0 { // else one pool has all
		text += fmt.Sprintf(", %s of the hash rate, to be %s", figures.Percent(u.Part), figures.Percent(u.Wanted))
	}
	if verdicts := u.verdicts(); verdicts != "" {
		text += "; " + verdicts
	}
	if u.Reason != "" && !u.Alive {
		text += ": " + page.OneLine(u.Reason)
	}
	return text
}

// verdicts are what the pool has said of shares.
func (u *upstream) verdicts() string {
	s := &u.stats
	judged := s.AcceptedCount + s.RejectedCount
	if judged+s.UnansweredCount == 0 {
		return ""
	}
	parts := []string{figures.Count(s.AcceptedCount) + " accepted"}
	if judged > 0 {
		parts = append(parts, fmt.Sprintf("%s rejected (%s)", figures.Count(s.RejectedCount), figures.Percent(float64(s.RejectedCount)/float64(judged))))
	}
	if s.UnansweredCount > 0 {
		parts = append(parts, figures.Count(s.UnansweredCount)+" without an answer")
	}
	if s.LatencyMS > 0 {
		parts = append(parts, fmt.Sprintf("answers take %.0f ms", s.LatencyMS))
	}
	text := strings.Join(parts, ", ")
	if reasons := countReasons(s.Rejects); reasons != "" {
		text += "; rejects: " + reasons
	}
	return text
}
