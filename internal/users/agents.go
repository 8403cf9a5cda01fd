package users

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/sharelog"
)

const otherAgent = "Other"

// agents counts connections by normalised user agent. Miners without one are
// not counted.
type agents struct {
	mu      sync.Mutex
	devices map[string]int64 // guarded by mu; none is 0
}

func (a *agents) add(userAgent string, by int64) {
	if userAgent == "" {
		return
	}
	kind := normalAgent(userAgent)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.devices[kind] += by; a.devices[kind] <= 0 {
		delete(a.devices, kind)
	}
}

// agentSum is what the connected workers of one user agent do.
type agentSum struct {
	rate difficulty.Average // over five minutes
	best float64
}

// list gives the user agents with most devices first, at most limit of them.
func (a *agents) list(sums map[string]agentSum, limit int) []sharelog.AgentStatus {
	if limit <= 0 {
		return nil
	}
	a.mu.Lock()
	list := make([]sharelog.AgentStatus, 0, len(a.devices))
	for kind, devices := range a.devices {
		list = append(list, sharelog.AgentStatus{Agent: kind, Devices: devices})
	}
	a.mu.Unlock()
	slices.SortFunc(list, func(a, b sharelog.AgentStatus) int {
		return cmp.Or(cmp.Compare(b.Devices, a.Devices), cmp.Compare(a.Agent, b.Agent))
	})
	list = list[:min(len(list), limit)]
	for i := range list {
		sum := sums[list[i].Agent]
		list[i].Hashrate5m = float64(sum.rate) * difficulty.HashesPerDifficulty
		list[i].BestShare = sum.best
	}
	return list
}

// normalAgent is the product in a user agent, without versions and chip names.
func normalAgent(userAgent string) string {
	s := strings.TrimLeft(userAgent, whitespace)
	if i := strings.IndexAny(s, "/("); i >= 0 {
		s = s[:i]
	}
	s = strings.Trim(s, whitespace)
	s = strings.Trim(cutChip(s), whitespace)
	const cpuminer = "cpuminer"
	if n := len(cpuminer); len(s) > n && strings.EqualFold(s[:n], cpuminer) && (s[n] == '-' || s[n] == '_') {
		s = s[:n]
	}
	s = cutVersion(s)
	if s == "" {
		return otherAgent
	}
	return s
}

const (
	whitespace = " \t\n\v\f\r"
	digits     = "0123456789"
)

// cutChip drops a trailing " BM1366" or "-BM1366".
func cutChip(s string) string {
	rest := strings.TrimRight(s, digits)
	if rest == s {
		return s
	}
	for _, mark := range []string{" BM", "-BM"} {
		if cut, ok := strings.CutSuffix(rest, mark); ok {
			return cut
		}
	}
	return s
}

// cutVersion drops a trailing "-1.2.7".
func cutVersion(s string) string {
	rest := strings.TrimRight(s, digits+".")
	version := s[len(rest):]
	if version == "" || version[0] == '.' || version[len(version)-1] == '.' {
		return s
	}
	if cut, ok := strings.CutSuffix(rest, "-"); ok {
		return cut
	}
	return s
}
