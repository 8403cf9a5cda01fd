package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/ckpool/ckpool/stratum"
)

// What no pool in its right mind sends. One that does is given up: work of such
// sizes would harm the miners behind it.
const (
	maxJobID     = 256     // bytes
	maxBranch    = 32      // a block of 2³² transactions
	maxCoinbase  = 100_000 // bytes without the extranonces
	minimumWork  = 1e-12   // difficulty; every hash meets it
	maximumWork  = 1e18    // difficulty
	maxHeld      = 256     // announcements before the reply to mining.subscribe
	maxReason    = 200     // bytes of a text that is passed on, the rest is cut off
	maxSessionID = 256     // bytes; a longer one is not resumed

	// Lines that nobody asked for: so many at once, and so many a second.
	announcements     = 500
	announcementsRate = 20
)

// checkNotify reports a job that is out of proportion.
func checkNotify(n *stratum.Notify) error {
	switch {
	case len(n.JobID) > maxJobID:
		return fmt.Errorf("mining.notify with a job id of %d bytes, at most %d are taken", len(n.JobID), maxJobID)
	case len(n.Branch) > maxBranch:
		return fmt.Errorf("mining.notify with a merkle branch of %d hashes, at most %d are possible", len(n.Branch), maxBranch)
	case len(n.Coinb1)+len(n.Coinb2) > maxCoinbase:
		return fmt.Errorf("mining.notify with a coinbase of %d bytes, at most %d are taken", len(n.Coinb1)+len(n.Coinb2), maxCoinbase)
	}
	return nil
}

func checkDifficulty(d float64) error {
	if d < minimumWork || d > maximumWork {
		return fmt.Errorf("mining.set_difficulty to %g, from %g to %g are taken", d, minimumWork, maximumWork)
	}
	return nil
}

var errFlood = errors.New("pool sends more than anybody asked for")

// allowance is how many more lines a pool may send unasked.
type allowance struct {
	used float64
	at   time.Time
}

// take takes one; false: there is none left.
func (a *allowance) take(now time.Time) bool {
	a.used = max(a.used-now.Sub(a.at).Seconds()*announcementsRate, 0) + 1
	a.at = now
	return a.used <= announcements
}
