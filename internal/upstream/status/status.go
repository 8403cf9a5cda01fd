// Package status is how pools that work comes from do, and what becomes of shares
// there, in figures. It knows neither who counts them nor who shows them.
package status

import (
	"time"

	"github.com/ckpool/ckpool/difficulty"
)

// Pool is another pool that work comes from, with an account there.
type Pool struct {
	ID       int64  // which no other pool of this instance has or had
	User     string // who alone mines there; empty: everybody
	UserID   int64  // of that user; 0: everybody
	BaseURL  string // as it was configured
	URL      string // that it is connected at: another one after a client.reconnect
	Account  string // that miners are authorized as
	Password string
	Weight   float64 // its part of the hash rate beside the weights of others; 0: none
	// Wanted is the part of the hash rate that it is to have, and Part what it has, 0 to
	// 1. Where they differ for long, no division of whole miners comes nearer.
	Wanted, Part float64

	Disabled    bool   // by an operator
	Up          bool   // a connection is authorized and has a job
	Active      bool   // miners are sent there at present
	Reason      string // why it is not Up
	Backoff     time.Duration
	Connections []Connection
	Figures     // of all connections there were
}

// Connection is one connection to a pool. The first has the ID 0.
type Connection struct {
	ID                            int64 // which no other connection to the pool has or had
	Connect, Subscribe, Authorize Step
	Works                         bool // it is authorized and has a job
	Difficulty                    float64
	Extranonce1                   string // of the pool, in hex; may be empty
	// Extranonce2Len is how many bytes the pool leaves, of which Pad are the same for all
	// miners, Own are each miner's extranonce1, and the rest its extranonce2.
	Extranonce2Len, Pad, Own int
	VersionMask              uint32 // bits that may be rolled
	Sessions                 int    // miners that work on it
	Space                    Space
	Since                    time.Time
	Figures
}

// Space is how many extranonce1 a connection has for miners, in all, in use, and given
// back but not yet given again, since shares may still come under them.
type Space struct{ Size, Used, Resting int }

// Free is how many more miners find room.
func (s Space) Free() int { return s.Size - s.Used - s.Resting }

// Step is how a step of connecting has ended.
type Step uint8

// What Step may be.
const (
	Initial Step = iota // it has not
	Success
	Failed
)

func (s Step) String() string { return [...]string{"Initial", "Success", "Failed"}[s] }

// User is what became of one user's shares of other pools' work.
type User struct {
	Name    string
	ID      int64
	Miners  int       // that are here
	Pools   []int64   // that are the user's alone, by ID
	State   string    // of the account: ok, no work, refused or none
	Refused string    // what the pool said if it refused the user
	Again   time.Time // when it is asked again, zero if it did not
	Figures
}

// Tally is how many shares, and the sum of their difficulties.
type Tally struct {
	Shares     int64
	Difficulty difficulty.Exact
}

// Add counts one of difficulty d.
func (t *Tally) Add(d float64) {
	t.Shares++
	t.Difficulty = t.Difficulty.Add(difficulty.ExactOf(d))
}

// Figures are what became of shares.
type Figures struct {
	RefusedHere Tally            // of which no pool heard
	NotSent     Tally            // good here, and below what the pool asks
	Unsendable  Tally            // the connection could not take them
	Accepted    Tally            // by the pool
	Refused     Tally            // by the pool
	Reasons     map[string]Tally // of these, in its words
	Unanswered  Tally            // the pool has not said in time
	Open        int64            // sent, and not answered yet

	LastAccepted     time.Time // zero: none was
	Latency, Slowest time.Duration
	Rates            [4]float64 // accepted difficulty a second: averages over a minute, five, an hour, a day
}
