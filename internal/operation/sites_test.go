package operation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/bench"
	"github.com/ckpool/ckpool/internal/testkit/gobuild"
	"github.com/ckpool/ckpool/internal/testkit/port"
	"github.com/ckpool/ckpool/journal"
)

// sites are two pools whose shares go to the database of a third site, by the NATS
// server there. Each site is a network namespace; miners reach their pool from here.
type sites struct {
	*tortured // the site with the database, which has no pool
	far       [2]*farSite
	center    string // namespace
	port      string // of the NATS server
	broker    *exec.Cmd
}

// farSite is one of the pools.
type farSite struct {
	*killed
	space, wire     string // namespace; interface to it, in that of the center
	address         string // of the center
	pool, forwarder *exec.Cmd
}

// ip runs the command of that name.
func ip(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if out, err := exec.Command("ip", strings.Fields(text)...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", text, err, out)
	}
	return nil
}

// connect makes the namespaces and what is between them.
func (k *sites) connect() {
	k.t.Helper()
	k.center = fmt.Sprintf("ck%dc", os.Getpid())
	spaces := []string{k.center}
	for i, s := range k.far {
		s.space, s.wire, s.address = fmt.Sprintf("ck%d%c", os.Getpid(), 'a'+i), fmt.Sprint("site", i), fmt.Sprintf("10.0.%d.1", i)
		spaces = append(spaces, s.space)
	}
	for _, name := range spaces {
		if err := ip("netns add %s", name); err != nil {
			k.t.Skip("the network between sites cannot be cut here, network namespaces are needed (root and iproute2): ", err)
		}
		k.t.Cleanup(func() {
			if err := ip("netns del %s", name); err != nil {
				k.t.Error(err)
			}
		})
	}
	errs := []error{ip("-n %s link set lo up", k.center)}
	for i, s := range k.far {
		errs = append(errs,
			ip("-n %s link add %s type veth peer name center netns %s", k.center, s.wire, s.space),
			ip("-n %s addr add %s/30 dev %s", k.center, s.address, s.wire), ip("-n %s link set %s up", k.center, s.wire),
			ip("-n %s addr add 10.0.%d.2/30 dev center", s.space, i), ip("-n %s link set center up", s.space))
	}
	if err := errors.Join(errs...); err != nil {
		k.t.Fatal(err)
	}
}

// spawn starts a program in a namespace, in whose log, a file in dir, it ends up with
// what it says.
func (k *sites) spawn(space, dir, log, program string, args ...string) *exec.Cmd {
	k.t.Helper()
	out, err := os.OpenFile(filepath.Join(dir, log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		k.t.Fatal(err)
	}
	defer out.Close()
	c := exec.Command("ip", append([]string{"netns", "exec", space, filepath.Join(programs, program)}, args...)...) // it becomes the program
	c.Dir, c.Stdout, c.Stderr = dir, out, out
	if err := c.Start(); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return c
}

func (k *sites) startBroker() {
	k.broker = k.spawn(k.center, k.dir, "nats.out", "nats-server", "-a", "0.0.0.0", "-p", k.port, "-js", "-sd", filepath.Join(k.dir, "jetstream"))
}

func (k *sites) startReceiver() {
	k.ckdb = k.spawn(k.center, k.dir, "ckdb.out", "ckdb", "--db", k.db, "-s", "sockets", "--nats", "nats://127.0.0.1:"+k.port)
}

func (k *sites) startForwarder(s *farSite) {
	s.forwarder = k.spawn(s.space, s.dir, "forward.out", "ckdb", "--forward", "-s", "s/ckdb", "--nats", "nats://"+s.address+":"+k.port)
}

// kill is kill -9.
func kill(c *exec.Cmd) {
	_ = c.Process.Kill()
	_ = c.Wait()
}

// outage is something that fails between sites, until what it returns is called.
type outage struct {
	what string
	cut  bool // nothing comes from the site meanwhile
	do   func(k *sites, s *farSite) (mend func() error)
}

var outages = []outage{
	{"NATS server killed and its store deleted", false, func(k *sites, _ *farSite) func() error {
		kill(k.broker)
		err := os.RemoveAll(filepath.Join(k.dir, "jetstream"))
		return func() error {
			k.startBroker()
			return err
		}
	}},
	{"store of the running NATS server deleted, then that killed", false, func(k *sites, _ *farSite) func() error {
		err := os.RemoveAll(filepath.Join(k.dir, "jetstream"))
		return func() error {
			kill(k.broker)
			k.startBroker()
			return err
		}
	}},
	{"forwarder killed", false, func(k *sites, s *farSite) func() error {
		kill(s.forwarder)
		return func() error {
			k.startForwarder(s)
			return nil
		}
	}},
	{"ckdb with the database killed", false, func(k *sites, _ *farSite) func() error {
		kill(k.ckdb)
		return func() error {
			k.startReceiver()
			return nil
		}
	}},
	{"link down", true, func(k *sites, s *farSite) func() error {
		err := ip("-n %s link set %s down", k.center, s.wire)
		return func() error { return errors.Join(err, ip("-n %s link set %s up", k.center, s.wire)) }
	}},
	// Frames go to a station that there is not: nobody is told, no connection ends.
	{"link silent", true, func(k *sites, s *farSite) func() error {
		there := strings.TrimSuffix(s.address, "1") + "2"
		err := errors.Join(ip("-n %s neigh replace %s lladdr 02:00:00:00:00:01 dev %s nud permanent", k.center, there, s.wire),
			ip("-n %s neigh replace %s lladdr 02:00:00:00:00:01 dev center nud permanent", s.space, s.address))
		return func() error {
			return errors.Join(err, ip("-n %s neigh del %s dev %s", k.center, there, s.wire), ip("-n %s neigh del %s dev center", s.space, s.address))
		}
	}},
}

// Whatever ends or is cut off between two pools and the database of a third site, in
// the end the database has each share that a miner was told is accepted, once, and
// both ends know. Each outage comes once, and then as many as rounds are left.
func TestSites(t *testing.T) {
	t.Parallel()
	seed := *tortureSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	k := &sites{}
	for i, name := range []string{"north", "south"} {
		k.far[i] = &farSite{killed: journaled(t, "journal")}
		k.far[i].name = name
	}
	k.tortured = &tortured{killed: &killed{t: t, dir: t.TempDir()}, random: random, told: newVerdicts()}
	k.db = "sqlite:" + filepath.Join(k.dir, "db")
	k.connect()
	var err error
	if k.port, err = port.Free(); err != nil {
		t.Fatal(err)
	}
	if err := gobuild.Programs(programs, "github.com/nats-io/nats-server/v2"); err != nil {
		t.Fatal(err)
	}
	k.startBroker()
	k.startReceiver()
	for _, s := range k.far {
		s.pool = s.start()
		k.startForwarder(s)
	}
	k.suffer()
	k.arrive()
	k.compare()
}

// suffer lets miners work at both sites while one outage after the other comes.
func (k *sites) suffer() {
	k.t.Helper()
	over := make(chan struct{})
	var loads sync.WaitGroup
	for _, s := range k.far {
		loads.Go(func() {
			_, err := bench.Shares(k.t.Context(), bench.SharesConfig{Options: s.load(20), Rate: *tortureRate / 2, Answered: k.told.add,
				During: func(context.Context, func() time.Duration) error {
					<-over
					return nil
				}})
			if err != nil {
				k.t.Error(err)
			}
		})
	}
	order := k.random.Perm(len(outages))
	for round := range max(*tortureRounds, len(outages)) {
		if round >= len(order) {
			order = append(order, k.random.IntN(len(outages)))
		}
		o, s := outages[order[round]], k.far[k.random.IntN(len(k.far))]
		least, most := 100*time.Millisecond, 500*time.Millisecond
		if o.cut {
			least, most = time.Second, 2*time.Second
		}
		if round >= len(outages) { // longer than what notices a silent link
			most = 20 * time.Second
		}
		<-time.After(time.Duration(k.random.Int64N(int64(500 * time.Millisecond))))
		mend := o.do(k, s)
		before := k.known(o, s)
		lasts := least + time.Duration(k.random.Int64N(int64(most-least)))
		<-time.After(lasts)
		if after := k.known(o, s); before != after {
			k.t.Errorf("%s, and yet the site knows that the database went on from %s to %s", o.what, before, after)
		}
		if err := mend(); err != nil {
			k.t.Errorf("%s: %v", o.what, err)
		}
		k.t.Logf("round %d: %s for %v, at %s", round+1, o.what, lasts, s.name)
	}
	<-time.After(500 * time.Millisecond)
	close(over)
	loads.Wait()
}

// arrive waits until all is stored and both ends say so.
func (k *sites) arrive() {
	k.t.Helper()
	for _, s := range k.far {
		if err := errors.Join(s.pool.Process.Signal(syscall.SIGTERM), s.pool.Wait()); err != nil {
			k.t.Error(err)
		}
	}
	if err := await(func() error {
		for _, s := range k.far {
			if err := behind(s.dir, "s/ckdb", s.name); err != nil {
				return err
			}
		}
		return behind(k.dir, "sockets", "north", "south")
	}); err != nil {
		k.t.Errorf("%v: %s", err, k.said())
	}
	for _, s := range k.far {
		c, err := journal.ReadCursor(filepath.Join(s.dir, "logs", "journal"), "ckdb")
		if err != nil {
			k.t.Error(err)
		}
		if b, err := journal.Behind(filepath.Join(s.dir, "logs", "journal"), c.Position); err != nil || b.Records != 0 {
			k.t.Errorf("%+v behind the cursor, %v", b, err)
		}
		if err := errors.Join(s.forwarder.Process.Signal(syscall.SIGTERM), s.forwarder.Wait()); err != nil {
			k.t.Errorf("forwarder: %v", err)
		}
	}
	if err := errors.Join(k.ckdb.Process.Signal(syscall.SIGTERM), k.ckdb.Wait()); err != nil {
		k.t.Errorf("ckdb: %v: %s", err, k.said())
	}
	k.t.Logf("%d shares were answered true, %d are stored", len(k.told.accepted), len(k.stored()))
}

// statusReply is what the status of an instance says.
type statusReply struct {
	Journals []struct {
		Pool    string
		Stored  string `json:"stored_to"`
		Behind  uint64 `json:"behind_shares"`
		Trouble string
		Shares  int
	}
	Gaps []any
}

func askStatus(dir, sockets string) (st statusReply, out []byte, err error) {
	c := exec.Command(filepath.Join(programs, "ckdb"), "-s", sockets, "--json", "status")
	c.Dir = dir
	if out, err = c.Output(); err != nil {
		return st, out, fmt.Errorf("ckdb status: %w", err)
	}
	return st, out, json.Unmarshal(out, &st)
}

// known is how far a site that is cut off knows that its journal is stored.
func (k *sites) known(o outage, s *farSite) string {
	k.t.Helper()
	if !o.cut {
		return ""
	}
	var stored string
	// A forwarder that has just been started does not answer yet.
	if err := await(func() error {
		st, out, err := askStatus(s.dir, "s/ckdb")
		if err == nil && len(st.Journals) != 1 {
			err = fmt.Errorf("%s says %s", s.name, out)
		}
		if err == nil {
			stored = st.Journals[0].Stored
		}
		return err
	}); err != nil {
		k.t.Error(err)
	}
	return stored
}

// behind tells what the status of an instance says is not stored of some pools.
func behind(dir, sockets string, pools ...string) error {
	st, out, err := askStatus(dir, sockets)
	if err != nil {
		return err
	}
	found := 0
	for _, j := range st.Journals {
		for _, name := range pools {
			if j.Pool == name && j.Behind == 0 && j.Trouble == "" {
				found++
			}
		}
	}
	if found != len(pools) || len(st.Gaps) > 0 {
		return fmt.Errorf("%s says %s", sockets, out)
	}
	return nil
}
