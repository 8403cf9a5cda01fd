package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/bench"
)

// UpgradeConfig is a run of Upgrade.
type UpgradeConfig struct {
	Ckpool, Ckbench string
	Miners          int // that submit
	Rate            float64
	Idle            int // further miners
	Upgrades        int
	Every           time.Duration // from one upgrade to the next
	Transactions    int
	Progress        func(line string)
}

// UpgradeReport is how miners fared while the pool's process was replaced.
type UpgradeReport struct {
	Config   UpgradeConfig
	Upgrades []Replacement
	Quiet    time.Duration // longest wait for a reply before the first upgrade
	Shares   *bench.SharesReport
	Counted  int64 // shares accepted, as the last process says
	Faults   []string
}

// Replacement is one upgrade.
type Replacement struct {
	Pid   int
	Took  time.Duration // from the command until its reply
	Wait  time.Duration // longest for a reply to a share
	Pause time.Duration // as the pool says
}

// Upgrade replaces the pool's process several times while miners submit.
func Upgrade(ctx context.Context, c UpgradeConfig) (*UpgradeReport, error) {
	if c.Upgrades < 1 || c.Upgrades > 1000 {
		return nil, fmt.Errorf("%d upgrades: must be 1 to 1000", c.Upgrades)
	}
	r, done, err := prepare(ctx, Config{Ckpool: c.Ckpool, Ckbench: c.Ckbench, Rounds: 1, Progress: c.Progress,
		Size: Size{Transactions: c.Transactions, Settle: c.Every}})
	if err != nil {
		return nil, err
	}
	defer done()
	s, err := r.server(ctx, pool)
	if err != nil {
		return nil, err
	}
	defer s.stopNewest(s.stop)
	u := &UpgradeReport{Config: c}
	options := s.options(c.Miners)
	options.Pid = 0 // it changes
	u.Shares, err = bench.Shares(ctx, bench.SharesConfig{Options: options, Window: 1, Rate: c.Rate, Idle: c.Idle,
		During: func(ctx context.Context, slowest func() time.Duration) error { return u.run(ctx, r, s, slowest) }})
	if err != nil {
		return nil, err
	}
	if u.Counted, err = s.accepted(ctx); err == nil {
		err = u.readPauses(s.log)
	}
	u.findFaults()
	return u, err
}

func (u *UpgradeReport) run(ctx context.Context, r *run, s *server, slowest func() time.Duration) error {
	if err := sleep(ctx, u.Config.Every); err != nil {
		return err
	}
	u.Quiet = slowest()
	for i := range u.Config.Upgrades {
		began := time.Now()
		pid, err := s.upgrade(ctx)
		if err != nil {
			return fmt.Errorf("upgrade %d: %w", i+1, err)
		}
		k := Replacement{Pid: pid, Took: time.Since(began)}
		if err := sleep(ctx, u.Config.Every); err != nil {
			return err
		}
		k.Wait = slowest()
		u.Upgrades = append(u.Upgrades, k)
		r.Progress(fmt.Sprintf("upgrade %d of %d: process %d after %v, longest wait for a reply %v", i+1, u.Config.Upgrades, pid,
			k.Took.Round(time.Millisecond), k.Wait.Round(time.Millisecond/10)))
	}
	return nil
}

// upgrade replaces the process and returns the id of the new one.
func (s *server) upgrade(ctx context.Context) (pid int, err error) {
	c := &control.Client{Path: filepath.Join(s.sockets, "listener"), ReplyTimeout: time.Minute, BodyTimeout: time.Second}
	reply, err := c.Do(ctx, "upgrade")
	for err == nil && ctx.Err() == nil && strings.Contains(reply, "has just taken over: ask again") { // the one before the last had it
		reply, err = c.Do(ctx, "upgrade")
	}
	if err != nil {
		return 0, err
	}
	text, ok := strings.CutPrefix(reply, "upgraded to process ")
	if pid, err = strconv.Atoi(text); !ok || err != nil {
		return 0, errors.New(reply)
	}
	return pid, nil
}

// stopNewest ends the process that the instance is now, which is no child of this
// one, and then what is left of the first.
func (s *server) stopNewest(stopFirst func()) {
	defer stopFirst()
	text, err := os.ReadFile(filepath.Join(s.sockets, "main.pid"))
	if err != nil {
		return // it has ended
	}
	pid, _ := strconv.Atoi(string(text))
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_ = unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0)
	for until := time.Now().Add(stopTime); time.Now().Before(until); { // signals of the runtime interrupt a wait
		if n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100); n > 0 {
			return
		}
	}
	_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
}

// accepted is how many shares the pool has accepted, as it says.
func (s *server) accepted(ctx context.Context) (int64, error) {
	var stats struct {
		Accepted int64 `json:"accepted_count"`
	}
	err := ask(ctx, s, "poolstats", &stats)
	return stats.Accepted, err
}

var handedOver = regexp.MustCompile(`Handed over to process (\d+) after a pause of (\S+)`)

// readPauses takes from the log what the processes say of their pauses.
func (u *UpgradeReport) readPauses(log string) error {
	text, err := os.ReadFile(log)
	if err != nil {
		return err
	}
	for _, m := range handedOver.FindAllSubmatch(text, -1) {
		d, err := time.ParseDuration(string(m[2]))
		if err != nil {
			return fmt.Errorf("%s: %w", log, err)
		}
		for i := range u.Upgrades {
			if k := &u.Upgrades[i]; strconv.Itoa(k.Pid) == string(m[1]) {
				k.Pause = d
			}
		}
	}
	return nil
}

// findFaults says what was not as it should be.
func (u *UpgradeReport) findFaults() {
	fault := func(is bool, format string, args ...any) {
		if is {
			u.Faults = append(u.Faults, fmt.Sprintf(format, args...))
		}
	}
	p := u.Shares
	fault(p.Accepted == 0, "no share was accepted")
	fault(p.Dropped > 0, "%d connections lost: %v", p.Dropped, p.Drops)
	fault(p.Rejected > 0, "%d shares rejected: %v", p.Rejected, p.Rejects)
	fault(p.Unanswered+p.Unmatched > 0, "%d shares without reply, %d replies without share", p.Unanswered, p.Unmatched)
	fault(p.NotReady > 0, "%d miners got no work", p.NotReady)
	fault(u.Counted != p.Accepted, "miners count %d accepted shares, the pool %d", p.Accepted, u.Counted)
	for i, k := range u.Upgrades {
		fault(k.Pause == 0, "upgrade %d: the log says nothing of its pause", i+1)
	}
}

// Failed tells whether a miner noticed more than a pause.
func (u *UpgradeReport) Failed() bool { return len(u.Faults) > 0 }

// Print writes the report.
func (u *UpgradeReport) Print(w io.Writer) error {
	var b strings.Builder
	c := u.Config
	fmt.Fprintf(&b, "%d miners with %g shares per second, %d idle ones, %d upgrades\n", c.Miners, c.Rate, c.Idle, len(u.Upgrades))
	fmt.Fprintf(&b, "%d shares accepted by the miners' count, %d by the pool's; %d rejected, %d without reply, %d connections lost\n",
		u.Shares.Accepted, u.Counted, u.Shares.Rejected, u.Shares.Unanswered, u.Shares.Dropped)
	row := func(what string, of func(*Replacement) time.Duration) {
		var all []time.Duration
		for i := range u.Upgrades {
			all = append(all, of(&u.Upgrades[i]))
		}
		slices.Sort(all)
		ms := func(d time.Duration) string { return short(float64(d) / float64(time.Millisecond)) }
		fmt.Fprintf(&b, "%s: %s ms (%s – %s)\n", what, ms(all[len(all)/2]), ms(all[0]), ms(all[len(all)-1]))
	}
	row("longest wait for a reply, as miners see it", func(k *Replacement) time.Duration { return k.Wait })
	row("pause, as the pool says", func(k *Replacement) time.Duration { return k.Pause })
	row("from the command until the new process serves", func(k *Replacement) time.Duration { return k.Took })
	fmt.Fprintf(&b, "longest wait for a reply without an upgrade: %s ms\n", short(float64(u.Quiet)/float64(time.Millisecond)))
	fmt.Fprintf(&b, "latency of all replies: p50 %s ms, p99 %s ms, max %s ms\n", short(u.Shares.Latency.P50/1e3), short(u.Shares.Latency.P99/1e3), short(u.Shares.Latency.Max/1e3))
	for _, f := range u.Faults {
		fmt.Fprintf(&b, "FAULT: %s\n", f)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
