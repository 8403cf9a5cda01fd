package sharelog

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ckpool/ckpool/difficulty"
)

// PoolStatus is what pool/pool.status holds.
type PoolStatus struct {
	Runtime      int64         // seconds since the pool started
	LastUpdate   time.Time     // when the file was written
	Users        int64         // with a miner connected
	Workers      int64         // connected miners
	Idle         int64         // connected, but without a share for a minute
	Disconnected int64         // sessions that may be resumed
	UserAgents   []AgentStatus // of connected miners

	Hashrate [7]float64 // hashes per second over 1, 5, 15 minutes, 1, 6 hours, 1, 7 days

	// Of the round, which is what came since the pool's last block.
	Effort                       float64    // percent of the network difficulty; not exact in the file
	NetworkDifficulty            float64    // not exact in the file
	Accepted, Rejected           float64    // sums of difficulty
	BestShare                    float64    // difficulty of the best share that was no block
	SPS                          [4]float64 // accepted shares per second over 1, 5, 15, 60 minutes
	AcceptedCount, RejectedCount int64      // shares

	Remotes []RemoteMark // what is counted of other pools
}

// AgentStatus sums up the miners of one user agent.
type AgentStatus struct {
	Agent      string  // as mining.subscribe told it
	Devices    int64   // connections
	Hashrate5m float64 // hashes per second; rounded in the file
	BestShare  float64 // difficulty
}

func poolHashrateKeys() [7]string {
	return [...]string{"hashrate1m", "hashrate5m", "hashrate15m", "hashrate1hr", "hashrate6hr", "hashrate1d", "hashrate7d"}
}

func spsKeys() [4]string { return [...]string{"SPS1m", "SPS5m", "SPS15m", "SPS1h"} }

// Lines are the three JSON objects of the file: who is connected, the hash
// rates, the round.
func (s *PoolStatus) Lines() [3]string {
	return [3]string{string(s.connected()), string(s.hashrates()), string(s.round())}
}

func (s *PoolStatus) connected() []byte {
	o := NewObject(nil)
	o.Int("runtime", s.Runtime)
	o.Int("lastupdate", s.LastUpdate.Unix())
	o.Int("Users", s.Users)
	o.Int("Workers", s.Workers)
	o.Int("Idle", s.Idle)
	o.Int("Disconnected", s.Disconnected)
	if len(s.UserAgents) > 0 {
		list := []byte{'['}
		for i, a := range s.UserAgents {
			if i > 0 {
				list = append(list, ", "...)
			}
			e := NewObject(list)
			e.String("ua", a.Agent)
			e.Int("devices", a.Devices)
			e.String("hashrate5m", difficulty.FormatSI(a.Hashrate5m))
			e.Real("bestshare", a.BestShare, 17)
			list = e.Close()
		}
		o.Raw("UserAgents", append(list, ']'))
	}
	return o.Close()
}

func (s *PoolStatus) hashrates() []byte {
	o := NewObject(nil)
	keys := poolHashrateKeys()
	for i, key := range keys {
		o.String(key, difficulty.FormatSI(s.Hashrate[i]))
	}
	for i, key := range keys {
		putExact(&o, key, s.Hashrate[i])
	}
	return o.Close()
}

func (s *PoolStatus) round() []byte {
	o := NewObject(nil)
	o.Real("diff", s.Effort, 6)
	o.Real("netdiff", s.NetworkDifficulty, 6)
	o.Whole("accepted", s.Accepted)
	o.Whole("rejected", s.Rejected)
	o.Whole("bestshare", s.BestShare)
	keys := spsKeys()
	for i, key := range keys {
		o.Real(key, s.SPS[i], 6)
	}
	o.Int("accepted_count", s.AcceptedCount)
	o.Int("rejected_count", s.RejectedCount)
	putExact(&o, "accepted", s.Accepted)
	putExact(&o, "rejected", s.Rejected)
	putExact(&o, "bestshare", s.BestShare)
	for i, key := range keys {
		putExact(&o, key, s.SPS[i])
	}
	putRemotes(&o, s.Remotes)
	return o.Close()
}

// Write replaces the file at path.
func (s *PoolStatus) Write(path string) error {
	l := s.Lines()
	return ReplaceFile(path, []byte(strings.Join(l[:], "\n")+"\n"), true)
}

// ReadPoolStatus reads pool.status of any version.
func ReadPoolStatus(path string) (PoolStatus, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return PoolStatus{}, err
	}
	s, err := ParsePoolStatus(data)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return s, err
}

// ParsePoolStatus is [ReadPoolStatus] for the content of the file.
func ParsePoolStatus(data []byte) (PoolStatus, error) {
	var s PoolStatus
	lines := bytes.SplitN(bytes.TrimSpace(data), []byte{'\n'}, 4)
	if len(lines) < 3 {
		return s, fmt.Errorf("%d lines instead of 3", len(lines))
	}
	var f [3]fields
	for i := range f {
		var err error
		if f[i], err = parseFields(lines[i]); err != nil {
			return s, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	s.Runtime = f[0].int("runtime")
	s.LastUpdate = time.Unix(f[0].int("lastupdate"), 0)
	s.Users, s.Workers = f[0].int("Users"), f[0].int("Workers")
	s.Idle, s.Disconnected = f[0].int("Idle"), f[0].int("Disconnected")
	for _, a := range f[0].list("UserAgents") {
		best, _ := a.number("bestshare")
		s.UserAgents = append(s.UserAgents, AgentStatus{a.text("ua"), a.int("devices"), a.hashrate("hashrate5m"), best})
	}
	for i, key := range poolHashrateKeys() {
		s.Hashrate[i] = f[1].hashrate(key)
	}
	s.Effort, _ = f[2].number("diff")
	s.NetworkDifficulty, _ = f[2].number("netdiff")
	s.Accepted, s.Rejected, s.BestShare = f[2].exact("accepted"), f[2].exact("rejected"), f[2].exact("bestshare")
	for i, key := range spsKeys() {
		s.SPS[i] = f[2].exact(key)
	}
	s.AcceptedCount, s.RejectedCount = f[2].int("accepted_count"), f[2].int("rejected_count")
	s.Remotes = parseRemotes(f[2])
	return s, nil
}
