package upstream

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/session"
)

// Miners are the sessions that a Group's steward moves: Every are all there are, since who is
// not looked at has no work when its pool is lost. Move does not wait.
type Miners interface {
	Every(ctx context.Context) ([]session.Info, error)
	Move(list []session.Move)
}

// How often the steward does what.
const (
	chooseEvery = time.Second
	listEvery   = 10 * time.Second
	listAnyway  = time.Minute // also when all seem to be right
	stepEvery   = 50 * time.Millisecond
	// listGap is the least time between two lists, as is listShare times what the last has
	// taken: accounts of users may come up by the dozen. retryMost is the longest until those
	// are looked at again that have no work.
	listGap   = 50 * time.Millisecond
	listShare = 10
	retryMost = 5 * time.Second
	// movesAtOnce is how many sessions without work are moved in one step.
	movesAtOnce = 1000
)

// How the hash rate is divided.
const (
	lookBack  = time.Hour        // over which accepted difficulty counts
	lookAhead = 30 * time.Minute // within which is made good for what was not as it should be
	// balanceEvery is how often miners are moved that may stay as well.
	balanceEvery = time.Minute
	// staysFor is how long a miner stays at least where the division has put it.
	staysFor = 10 * time.Minute
	// nearEnough is how far parts may be from what they are to be until miners are moved.
	nearEnough = 0.005
	// shareEvery is how many seconds apart shares are to be for a pool: as most pools have it.
	shareEvery = 10.0 / 3
	// rateAge is how old a session is at least whose hash rate is told by its shares.
	rateAge = 5 * time.Minute
)

// transfer is a session that is to go to another pool.
type transfer struct {
	client uint64
	to     *member
	mask   uint32 // bits that it was told it may roll
	urgent bool   // it has no work
}

// steward brings sessions where they belong. Run's goroutine owns it.
type steward struct {
	group *Group

	urgent []transfer           // at once
	spread []transfer           // until deadline
	placed map[uint64]time.Time // by the division

	deadline time.Time     // of spread
	listed   time.Time     // when sessions were last
	took     time.Duration // by the last list
	next     time.Time     // when they are to be
	retry    time.Duration
	balanced time.Time // when miners were moved for their weights
}

// steward runs until ctx is done.
func (g *Group) steward(ctx context.Context) {
	s := &steward{group: g, placed: map[uint64]time.Time{}}
	tick := time.NewTicker(chooseEvery)
	defer tick.Stop()
	step := time.NewTimer(chooseEvery)
	defer step.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.wake:
			s.retry = 0
			s.next = s.listed.Add(max(listGap, listShare*s.took))
		case <-tick.C:
		case <-step.C:
		}
		if g.choose(time.Now()) {
			s.next = time.Time{}
		}
		switch now := time.Now(); {
		case now.Before(s.next):
		case now.Sub(s.listed) < listAnyway && g.settled():
			s.next = now.Add(listEvery)
		case s.list(ctx):
			s.listed = time.Now()
			s.took = s.listed.Sub(now)
			s.next = s.listed.Add(s.pause())
		}
		s.step()
		step.Reset(s.wait())
	}
}

// settled tells that all sessions are where they belong, as far as their numbers tell.
func (g *Group) settled() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.divided || g.strays || g.accounts != nil || len(g.serving) == 0 {
		return false
	}
	first := g.serving[0]
	for _, o := range g.origins {
		if o.sessions > 0 && (o.member != first && o.member.user == "" || o.ended) {
			return false
		}
	}
	return first.up()
}

// pause is how long the next list waits.
func (s *steward) pause() time.Duration {
	if len(s.urgent) == 0 {
		s.retry = 0
		return listEvery
	}
	s.retry = min(max(2*s.retry, 4*listGap), retryMost)
	return s.retry
}

// wait is until there is something to do.
func (s *steward) wait() time.Duration {
	if len(s.urgent)+len(s.spread) > 0 {
		return stepEvery
	}
	return max(min(time.Until(s.next), chooseEvery), time.Millisecond)
}

// choose chooses which pools serve, and tells when that changes what miners do. It is
// true if they change.
func (g *Group) choose(now time.Time) bool {
	g.mu.Lock()
	if slices.ContainsFunc(g.members, func(m *member) bool { return m.expected }) { // another process has chosen
		g.mu.Unlock()
		return false
	}
	for _, m := range g.members {
		m.watch(now, g.options.FailBack)
	}
	before := g.serving
	g.serving, g.divided = g.chosen(now)
	changed := !slices.Equal(before, g.serving)
	var told []event.Event
	var suggest []func()
	if changed {
		told = g.failover(before)
	}
	g.expect()
	for _, m := range g.serving {
		if rate := g.rate() * m.wanted; rate > 0 && !slices.Contains(before, m) {
			suggest = append(suggest, func() { m.pool.suggest(rate * shareEvery) })
		}
	}
	g.mu.Unlock()
	for _, tell := range suggest {
		tell()
	}
	for _, e := range told {
		g.options.Events.Tell(e)
	}
	return changed
}

// rate is what all pools have accepted lately, as difficulty a second. g.mu is held.
func (g *Group) rate() (sum float64) {
	for _, m := range g.members {
		sum += m.pool.Figures().Rates[1]
	}
	return sum
}

// suggest asks a pool for a difficulty that asks for far less: while nothing was found for it,
// its own may have fallen as low as it goes.
func (p *Pool) suggest(d float64) {
	if p.config.LeastDifficulty == 0 {
		return
	}
	p.mu.Lock()
	slots := slices.Clone(p.slots)
	p.mu.Unlock()
	for _, s := range slots {
		p.mu.Lock()
		l, works := s.line, s.works
		p.mu.Unlock()
		if works && l != nil && d > 2*l.difficulty() {
			_ = l.client.Load().SuggestDifficulty(d) // one that is not asked goes on as it is
		}
	}
}

// watch notes whether a pool has work, and since when. One that has refused everything
// since then is gone back to later and later.
func (m *member) watch(now time.Time, hold time.Duration) {
	switch up := m.up(); {
	case up && m.since.IsZero():
		m.since, m.atSince = now, m.pool.Figures()
	case !up && !m.since.IsZero():
		f := m.pool.Figures()
		switch {
		case f.Accepted.Shares > m.atSince.Accepted.Shares:
			m.hold = hold
		case f.Refused.Shares >= m.atSince.Refused.Shares+onlyRefusalsCount:
			m.hold = min(2*m.hold, max(longFailBack, hold))
		}
		m.since = time.Time{}
	}
}

// chosen is the pools that are to serve. g.mu is held.
func (g *Group) chosen(now time.Time) (serving []*member, divided bool) {
	settling := now.Sub(g.began) < settleTime && !(g.goesOn && slices.ContainsFunc(g.serving, (*member).up))
	ready := func(m *member) bool {
		return m.up() && (settling || slices.Contains(g.serving, m) || now.Sub(m.since) >= m.hold)
	}
	left := slices.ContainsFunc(g.serving, (*member).up)
	if slices.ContainsFunc(g.members, (*member).weighted) {
		for _, usable := range []func(*member) bool{ready, (*member).up} {
			for _, m := range g.members {
				if m.weighted() && usable(m) {
					serving = append(serving, m)
				}
			}
			if serving != nil {
				return serving, true
			}
			if left {
				break
			}
		}
	}
	for _, m := range g.members {
		if ready(m) || !left && m.up() {
			return []*member{m}, false
		}
	}
	return nil, false
}

// weighted tells that a pool has a part of the hash rate.
func (m *member) weighted() bool { return m.config.Weight > 0 && !m.disabled && !m.removed }

// failover is what there is to tell when other pools serve than before. g.mu is held.
func (g *Group) failover(before []*member) (told []event.Event) {
	say := func(level event.Level, format string, args ...any) {
		if text, ok := g.saying.line(fmt.Sprintf(format, args...), time.Now()); ok {
			told = append(told, event.Event{Level: level, Text: text})
		}
	}
	for _, m := range before {
		n := g.sessions(m)
		move, wait := "miners work for", ""
		if n > 0 {
			move, wait = fmt.Sprintf("%d miners move to", n), fmt.Sprintf(": %d miners wait for work", n)
		}
		switch {
		case slices.Contains(g.serving, m):
		case m.up() && n == 0: // a better one is there
			say(event.Notice, "Miners work for upstream %s", namesOf(g.serving))
		case m.up():
			say(event.Notice, "%d miners move from upstream %s to %s", n, m.pool.name, namesOf(g.serving))
		default:
			lost := "lost"
			switch {
			case m.removed:
				lost = "removed"
			case m.disabled:
				lost = "disabled"
			case m.pool.connected():
				lost = "gives no work any more"
			}
			if len(g.serving) == 0 {
				say(event.Error, "Upstream %s %s, and there is no other%s", m.pool.name, lost, wait)
			} else {
				say(event.Warning, "Upstream %s %s: %s %s", m.pool.name, lost, move, namesOf(g.serving))
			}
		}
	}
	if len(before) == 0 {
		say(event.Notice, "Miners work for upstream %s", namesOf(g.serving))
	} else if g.divided {
		for _, m := range g.serving {
			if !slices.Contains(before, m) {
				say(event.Notice, "Upstream %s has its part of the miners from now on", m.pool.name)
			}
		}
	}
	return told
}

// namesOf are the names of pools, for people.
func namesOf(list []*member) string {
	var all []string
	for _, m := range list {
		all = append(all, m.pool.name)
	}
	return strings.Join(all, " and ")
}

// expect sets what pools are to have of the hash rate. g.mu is held.
func (g *Group) expect() {
	total := 0.0
	for _, m := range g.serving {
		total += m.config.Weight
	}
	for _, m := range g.members {
		m.wanted = 0
		if slices.Contains(g.serving, m) {
			if m.wanted = 1; g.divided {
				m.wanted = m.config.Weight / total
			}
		}
	}
}

// list looks where all sessions are, and plans what moves are needed. It is false when
// it is not known.
func (s *steward) list(ctx context.Context) bool {
	g := s.group
	g.mu.Lock()
	miners, accounts := g.miners, g.accounts
	g.strays = false
	g.mu.Unlock()
	if miners == nil {
		return true
	}
	list, err := miners.Every(ctx)
	if err != nil {
		return false
	}
	homes := map[string]userAccount{}
	if accounts != nil {
		all, _ := accounts.list()
		for _, u := range all {
			if u.pool != nil && u.pool.Up() {
				homes[u.user] = u
			}
		}
	}
	now := time.Now()
	maps.DeleteFunc(s.placed, func(_ uint64, at time.Time) bool { return now.Sub(at) >= staysFor })
	g.mu.Lock()
	defer g.mu.Unlock()
	list = slices.DeleteFunc(list, func(i session.Info) bool {
		o := g.origins[i.Source]
		return !i.Subscribed || i.Source == 0 || o != nil && o.member.user != "" && o.member.user == i.User && !o.ended
	})
	s.urgent = nil
	var spread []transfer
	to := g.belong(list, s, now)
	for i := range list {
		// Who has to connect again to come home is asked once, when there is a home: it may
		// not find there then, if it does not say which session it had.
		if home := homes[list[i].User]; home.pool != nil && (home.pool.member.silent(&list[i]) || list[i].Start.Before(home.worked)) {
			to[i] = home.pool.member
		}
		o := g.origins[list[i].Source]
		if o == nil { // of another process: nothing else tells of it if it cannot go yet
			g.strays = true
		}
		if to[i] == nil {
			continue
		}
		t := transfer{client: list[i].ID, to: to[i]}
		if list[i].Rolls {
			t.mask = list[i].VersionMask
		}
		t.urgent = o == nil || o.ended
		if t.urgent && to[i].silent(&list[i]) {
			s.urgent = append(s.urgent, t)
		} else {
			spread = append(spread, t)
		}
	}
	// Who has no work is first.
	slices.SortStableFunc(spread, func(a, b transfer) int {
		switch {
		case a.urgent == b.urgent:
			return 0
		case a.urgent:
			return -1
		}
		return 1
	})
	if len(spread) > 0 && (len(s.spread) == 0 || s.deadline.Before(now)) {
		s.deadline = now.Add(g.options.Spread)
	}
	s.spread = spread
	return true
}

// silent tells that a session can probably go to a pool without connecting again.
func (m *member) silent(i *session.Info) bool {
	if i.Rolls && i.VersionMask&m.mask == 0 {
		return false
	}
	same := len(i.Extranonce1) == 2*m.shape.Own && i.Extranonce2Len == m.shape.Extranonce2
	return same || i.TakesExtranonce
}

// belong is the pool that each session is to go to, nil where it is right. g.mu is held.
func (g *Group) belong(list []session.Info, s *steward, now time.Time) []*member {
	to := make([]*member, len(list))
	preferred := g.preferred()
	if len(preferred) == 0 {
		return to
	}
	if g.divided {
		g.divide(list, to, s, now)
	} else {
		for i := range list {
			to[i] = best(preferred, &list[i])
		}
	}
	for i := range list {
		if o := g.origins[list[i].Source]; o != nil && !o.ended && o.member == to[i] {
			to[i] = nil
		}
	}
	return to
}

// best is the first of some pools where a session may roll versions, if it does.
func best(list []*member, i *session.Info) *member {
	if i.Rolls {
		if k := slices.IndexFunc(list, func(m *member) bool { return m.mask&i.VersionMask != 0 }); k >= 0 {
			return list[k]
		}
	}
	return list[0]
}

// step makes the moves that are due.
func (s *steward) step() {
	g := s.group
	if len(s.urgent)+len(s.spread) == 0 {
		return
	}
	now := time.Now()
	n := min(len(s.urgent), movesAtOnce)
	due := slices.Clone(s.urgent[:n])
	s.urgent = s.urgent[n:]
	if len(s.spread) > 0 {
		steps := max(int(s.deadline.Sub(now)/stepEvery), 1)
		n = (len(s.spread) + steps - 1) / steps
		due = append(due, s.spread[:n]...)
		s.spread = s.spread[n:]
	}
	g.mu.Lock()
	moves := g.seats(due)
	miners := g.miners
	g.mu.Unlock()
	if len(moves) > 0 {
		miners.Move(moves)
	}
}

// seats finds sources for sessions. Who has none there goes, if it is urgent, to another
// pool that has room. g.mu is held.
func (g *Group) seats(list []transfer) []session.Move {
	rooms := map[*member][]room{}
	at := func(m *member, t *transfer) uint32 {
		r, known := rooms[m]
		if !known && m.up() {
			r = m.pool.rooms()
			rooms[m] = r
		}
		return take(r, t.mask != 0 && m.mask&t.mask != 0)
	}
	preferred := g.preferred()
	missing := map[*member]int{}
	moves := make([]session.Move, 0, len(list))
	for i := range list {
		t := &list[i]
		from := at(t.to, t)
		if from == 0 {
			missing[t.to]++
		}
		for k := 0; from == 0 && t.urgent && k < len(preferred); k++ {
			from = at(preferred[k], t)
		}
		if from != 0 {
			moves = append(moves, session.Move{Client: t.client, To: from})
		}
	}
	for m, n := range missing {
		m.pool.want(n)
	}
	return moves
}

// room is how many more sessions a source can have.
type room struct {
	source uint32
	free   int
	rolls  bool
}

// rooms are those of all connections.
func (p *Pool) rooms() (list []room) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.slots {
		if s.works && now.After(s.full) {
			list = append(list, room{s.source, capacity(s.shape) - s.sessions, s.mask != 0})
		}
	}
	return list
}

// take takes a room, 0 if there is none.
func take(list []room, rolls bool) uint32 {
	for i := range list {
		if r := &list[i]; r.free > 0 && (r.rolls || !rolls) {
			r.free--
			return r.source
		}
	}
	return 0
}

// want tells that so many sessions found no room.
func (p *Pool) want(n int) {
	p.mu.Lock()
	p.wanted += n
	p.mu.Unlock()
	p.look()
}

// history is what a pool had accepted, in all, at times of the last hour.
type history []sample

type sample struct {
	at       time.Time
	accepted float64
}

const sampleGap = 5 * time.Second

// recent is what was accepted within the last hour, of which total is now.
func (h *history) recent(now time.Time, total float64) float64 {
	if n := len(*h); n == 0 || now.Sub((*h)[n-1].at) >= sampleGap {
		*h = append(*h, sample{now, total})
	}
	old := 0
	for old < len(*h)-1 && now.Sub((*h)[old].at) > lookBack {
		old++
	}
	*h = slices.Delete(*h, 0, old)
	return total - (*h)[0].accepted
}

// divide divides sessions by weights. g.mu is held.
func (g *Group) divide(list []session.Info, to []*member, s *steward, now time.Time) {
	rates := g.rates(list, now)
	portions := make([]Portion, len(g.members))
	rolling := make([]Portion, len(g.members)) // where versions may be rolled
	everywhere := true
	for i, m := range g.members {
		if m.rate = 0; slices.Contains(g.serving, m) {
			portions[i] = Portion{Weight: m.config.Weight, Accepted: m.history.recent(now, m.pool.Figures().Accepted.Difficulty.Float64())}
			if m.mask != 0 {
				rolling[i] = portions[i]
			}
			everywhere = everywhere && m.mask != 0
		}
	}
	somewhere := slices.ContainsFunc(rolling, func(p Portion) bool { return p.Weight > 0 })
	var bound, free []Miner
	for i := range list {
		m := Miner{Client: uint64(i), Rate: rates[i], Pool: g.at(&list[i])}
		rolls := list[i].Rolls && !everywhere && somewhere
		_, stays := s.placed[list[i].ID]
		switch {
		case stays && m.Pool >= 0 && portions[m.Pool].Weight > 0 && (!rolls || rolling[m.Pool].Weight > 0):
			// It is where it was put a short while ago, and counts as what is accepted there.
			portions[m.Pool].Accepted += m.Rate * lookAhead.Seconds()
			if rolling[m.Pool].Weight > 0 {
				rolling[m.Pool].Accepted = portions[m.Pool].Accepted
			}
			to[i] = g.members[m.Pool]
			to[i].rate += m.Rate
		case rolls:
			bound = append(bound, m)
		default:
			free = append(free, m)
		}
	}
	most := 0 // of those that have a place
	if now.Sub(s.balanced) >= balanceEvery && !near(portions, append(slices.Clone(bound), free...)) {
		most, s.balanced = 4+len(list)/20, now
	}
	g.apportion(rolling, bound, most, list, to, s, now)
	for i := range bound {
		if m := to[bound[i].Client]; m != nil {
			portions[slices.Index(g.members, m)].Accepted += bound[i].Rate * lookAhead.Seconds()
		}
	}
	g.apportion(portions, free, most, list, to, s, now)
	total := 0.0
	for _, m := range g.serving {
		total += m.rate
	}
	for _, m := range g.members {
		if m.part = 0; total > 0 {
			m.part = m.rate / total
		}
	}
}

// near tells that pools get nearly what they are to, if all miners stay where they are.
func near(pools []Portion, miners []Miner) bool {
	got := make([]float64, len(pools))
	total, weights := 0.0, 0.0
	for i, p := range pools {
		got[i] = p.Accepted
		total += p.Accepted
		weights += p.Weight
	}
	for _, m := range miners {
		total += m.Rate * lookAhead.Seconds()
		if m.Pool >= 0 {
			got[m.Pool] += m.Rate * lookAhead.Seconds()
		}
	}
	for i, p := range pools {
		if math.Abs(got[i]-total*p.Weight/weights) > nearEnough*total {
			return false
		}
	}
	return true
}

// apportion divides some sessions, whose numbers in the list are those of the miners.
func (g *Group) apportion(pools []Portion, miners []Miner, most int, list []session.Info, to []*member, s *steward, now time.Time) {
	for _, m := range miners {
		if m.Pool >= 0 {
			to[m.Client] = g.members[m.Pool]
		}
	}
	d := Divide(pools, miners, lookAhead.Seconds(), most)
	for _, m := range d.Moves {
		to[m.Client] = g.members[m.To]
	}
	for _, m := range miners {
		if to[m.Client] != nil {
			if m.Pool >= 0 && pools[m.Pool].Weight > 0 && g.members[m.Pool] != to[m.Client] {
				s.placed[list[m.Client].ID] = now
			}
			to[m.Client].rate += m.Rate
		}
	}
}

// at is the place of the pool that a session gets work from, -1 none.
func (g *Group) at(i *session.Info) int {
	o := g.origins[i.Source]
	if o == nil || o.ended || !o.member.up() {
		return -1
	}
	return slices.Index(g.members, o.member)
}

// rates are what sessions mine, in accepted difficulty a second. Who is new is taken for
// an average miner.
func (g *Group) rates(list []session.Info, now time.Time) []float64 {
	rates := make([]float64, len(list))
	sum, n := 0.0, 0
	for i := range list {
		age := now.Sub(list[i].Start)
		if rates[i] = -1; age >= rateAge {
			rates[i] = list[i].DSPS60 / difficulty.Bias(age.Seconds(), lookBack.Seconds())
			sum += rates[i]
			n++
		}
	}
	g.mean = 1
	if sum > 0 {
		g.mean = sum / float64(n)
	}
	for i := range rates {
		if rates[i] < 0 {
			rates[i] = g.mean
		}
	}
	return rates
}
