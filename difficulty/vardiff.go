package difficulty

// The measurement aims at one share in 3.33 s and leaves alone what is not
// far off.
const (
	perTarget  = 3.33 // seconds per share aimed at
	lowRate    = 0.15 // shares per second: at or below, difficulty falls
	highRate   = 0.4  // at or above, it rises
	floodRate  = 3    // 10 × target: the change cannot wait
	minSeconds = 0.001

	// A decision needs this many shares or seconds since the last change.
	enoughShares   = 72
	enoughSeconds  = 240
	burstShares    = 144
	burstSeconds   = 15
	recoveryShares = 8

	changeInterval = 10   // seconds between changes, unless upward out of a flood
	batchSeconds   = 0.05 // shares within this time enter the averages together

	idleSeconds    = 240
	idleSteps      = 3
	idleDivisor    = 4
	startupDivisor = 64
)

// Vardiff is one session's rate measurement and difficulty decision. Times are
// seconds on any monotonic scale. No pointers; owned by the session.
//
// Three decaying averages of 15, 60 and 300 s estimate the difficulty per
// second the session delivers; when enough has been seen and the share rate is
// not between 0.15 and 0.4 per second, a difficulty for 0.3 shares per second
// is asked for. The first share only starts the measurement: the time before
// it says nothing about the rate.
type Vardiff struct {
	origin  float64 // first share of the measurement
	changed float64 // last change of difficulty, or Start
	decayed float64 // the averages hold everything up to here

	avg15, avg60, avg300 float32 // difficulty per second
	pending              float32 // difficulty since decayed

	shares     uint32 // since the last change
	measuring  bool   // origin is set
	idle       uint8  // idle steps since the last share
	recovering bool   // the first share after an idle step began this measurement
}

// Decision is what Vardiff asks for.
type Decision struct {
	Difficulty float64 // 0 = no change
	Urgent     bool    // send at once instead of with the next broadcast
}

// Start begins measurement at now (connection time).
func (v *Vardiff) Start(now float64) {
	*v = Vardiff{changed: now, decayed: now}
}

// Share records an accepted share credited with credit and judged at the
// session's present difficulty cur; it returns the change wanted. Until
// Changed is called, following shares repeat and refine it.
func (v *Vardiff) Share(now, credit, cur float64, l Limits) Decision {
	if !v.measuring || v.idle > 0 {
		v.restart(now)
		return Decision{}
	}
	v.add(now, credit)
	v.shares++

	rate, decisive := v.rate(now)
	if rate == 0 {
		return Decision{}
	}
	if credit != cur {
		// Shares of jobs sent before the last change still come in.
		v.shares = 0
		return Decision{}
	}
	perSecond := rate / cur
	if perSecond > lowRate && perSecond < highRate || perSecond <= lowRate && !decisive {
		return Decision{}
	}
	flood := perSecond > floodRate
	if !flood && now-v.changed < changeInterval {
		return Decision{}
	}
	next := l.computed(rate * perTarget)
	if next == cur || next <= 0 {
		return Decision{}
	}
	if next < cur && v.shares == 1 {
		// Back after a pause that says nothing about its hash rate.
		v.restart(now)
		return Decision{}
	}
	return Decision{Difficulty: next, Urgent: flood && next > cur}
}

// Idle applies the idle rule; call it about once a second or whenever
// convenient. A session without a share for 240 s since the last share or
// change goes to a 64th if it never had one, again every 240 s, and to a
// quarter otherwise, at most three times until its next share. After such a
// step 8 shares suffice to rise. Idle counts on the change being made.
func (v *Vardiff) Idle(now, cur float64, l Limits) Decision {
	if now-max(v.changed, v.decayed) < idleSeconds {
		return Decision{}
	}
	divisor := float64(startupDivisor)
	if v.measuring {
		if v.idle >= idleSteps {
			return Decision{}
		}
		divisor = idleDivisor
	}
	next := l.computed(cur / divisor)
	if next >= cur || next <= 0 {
		return Decision{}
	}
	v.idle = min(v.idle+1, idleSteps)
	v.Changed(now)
	return Decision{Difficulty: next, Urgent: true}
}

// Changed tells that the session's difficulty was changed at now for whatever
// reason and restarts the count.
func (v *Vardiff) Changed(now float64) {
	v.changed = now
	v.shares = 0
	v.recovering = false
}

// restart makes the share at now the origin of a new measurement.
func (v *Vardiff) restart(now float64) {
	*v = Vardiff{
		origin: now, changed: v.changed, decayed: now,
		shares: 1, measuring: true, recovering: v.idle > 0,
	}
}

func (v *Vardiff) add(now, credit float64) {
	v.pending += float32(credit)
	s := max(minSeconds, now-v.decayed)
	if s < batchSeconds {
		return
	}
	amount := float64(v.pending)
	v.avg15 = float32(decay(float64(v.avg15), amount, s, 15))
	v.avg60 = float32(decay(float64(v.avg60), amount, s, 60))
	v.avg300 = float32(decay(float64(v.avg300), amount, s, 300))
	v.pending = 0
	v.decayed = now
}

// rate is the difficulty per second delivered, 0 as long as too little has
// been seen to decide. After an idle step a few shares decide, but only to
// rise: then decisive is false.
func (v *Vardiff) rate(now float64) (rate float64, decisive bool) {
	age := max(minSeconds, now-v.origin)
	t := max(minSeconds, now-max(v.origin, v.changed))
	switch {
	case v.shares >= burstShares && t < burstSeconds:
		return float64(v.avg15) / Bias(age, 15), true
	case v.shares >= enoughShares:
		return float64(v.avg60) / Bias(age, 60), true
	case t >= enoughSeconds:
		return float64(v.avg300) / Bias(age, 300), true
	case v.recovering && v.shares >= recoveryShares:
		return float64(v.avg60) / Bias(age, 60), false
	}
	return 0, false
}
