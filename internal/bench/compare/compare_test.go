package compare

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/bench/bare"
	"github.com/ckpool/ckpool/internal/bench/mob"
	"github.com/ckpool/ckpool/internal/testkit/gobuild"
)

// programs is the directory with the built programs.
var programs string

func TestMain(m *testing.M) {
	status := 1
	if err := build(func() { status = m.Run() }); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

func build(then func()) (err error) {
	if programs, err = os.MkdirTemp("", "ckbin"); err != nil {
		return err
	}
	defer os.RemoveAll(programs)
	if err := gobuild.Programs(programs, "github.com/ckpool/ckpool/cmd/ckpool", "github.com/ckpool/ckpool/cmd/ckbench"); err != nil {
		return err
	}
	then()
	return nil
}

func program(name string) string { return filepath.Join(programs, name) }

var tiny = Size{Miners: 60, Most: 80, Few: 20, Shares: 3_000, Pipelining: 5, Steady: 10, Rate: 200,
	Period: 1500 * time.Millisecond, Settle: 100 * time.Millisecond, Blocks: 2, Transactions: 50, Farm: 40, FarmRate: 400}

// The whole table, small: every row is measured, of a third server too, and no
// server loses anything.
func TestTable(t *testing.T) {
	answers := answersOfPool(t)
	s, err := bare.New(t.Context(), "127.0.0.1:0", answers)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	var steps []string
	r, err := Run(t.Context(), Config{
		Ckpool: program("ckpool"), Ckbench: program("ckbench"), Rounds: 1, Size: tiny,
		Other:    &Other{Address: s.Addr(), User: "x", Password: "x", Pid: os.Getpid()},
		Progress: func(line string) { steps = append(steps, line) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Faults) > 0 {
		t.Errorf("%s", strings.Join(r.Faults, "\n"))
	}
	for i := range rows {
		row := &rows[i]
		if n := len(r.of(row.key, row.kind())); n != 1 {
			t.Errorf("%s: %d figures of ckpool", row.title(tiny), n)
		}
		if _, known := r.ratio(row); !known && row.budget.ratio > 0 {
			t.Errorf("%s: no ratio", row.title(tiny))
		}
	}
	if n := len(r.of("storm CPU", other)); n != 1 || len(r.of("many last", other)) != 0 {
		t.Errorf("%d storms of the other server", n)
	}
	if !slices.Contains(steps, "round 1 of 1: shares of other") {
		t.Errorf("steps: %q", steps)
	}

	document := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(document, []byte("before\n"+beginMark+"\nold\n"+endMark+"\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Insert(document); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(document)
	for _, want := range []string{"before\n", "\nafter\n", "| quantity | ckpool | bare loop | ratio | other | budget |  |\n",
		"| CPU per share, 5 miners with 8 outstanding each |", "≤ bare + 5 µs"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "old") || strings.Contains(string(text), "%!") {
		t.Errorf("%s", text)
	}
	if err := r.Insert(program("ckpool")); err == nil {
		t.Error("a file without marks was changed")
	}
}

func answersOfPool(t *testing.T) *bare.Answers {
	t.Helper()
	r, done, err := prepare(t.Context(), Config{Ckpool: program("ckpool"), Ckbench: program("ckbench"), Rounds: 1, Size: tiny})
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	return r.answers
}

// Hostile clients do not touch the others: nobody is lost, what is thrown out is
// counted and hardly logged. Times are for the full measurement.
func TestHostile(t *testing.T) {
	size := tiny
	size.Period = 3 * time.Second // in which the process of the hostile clients begins, too
	r, err := Hostile(t.Context(), HostileConfig{
		Ckpool: program("ckpool"), Ckbench: program("ckbench"), Rounds: 1, Size: size,
		Mob: mob.Config{Deaf: 5, Sipping: 5, Dripping: 5, Garbage: 2, Churn: 300},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Faults {
		if !strings.HasPrefix(f, "p99 ") {
			t.Error(f)
		}
	}
	if r.Drops["bad input"] == 0 || r.Of[pool].Churned == 0 || r.Lines == 0 || len(r.Of[floor].P99) != 1 {
		t.Errorf("%+v", r)
	}
	var b bytes.Buffer
	if err := r.Print(&b); err != nil || !strings.Contains(b.String(), "bad input") {
		t.Errorf("%v %s", err, &b)
	}
}

func TestSoak(t *testing.T) {
	r, err := Soak(t.Context(), LongConfig{
		Ckpool: program("ckpool"), Ckbench: program("ckbench"), Duration: 2 * time.Second, Size: tiny,
		Mob: mob.Config{Deaf: 2, Sipping: 2, Dripping: 2, Garbage: 1, Churn: 50},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Faults {
		if f != "memory is not flat" { // so soon after the start
			t.Error(f)
		}
	}
	if len(r.Memory) < 3 || r.Memory[0] < 1 {
		t.Errorf("memory %v", r.Memory)
	}
}

func TestJobs(t *testing.T) {
	r, err := Jobs(t.Context(), LongConfig{
		Ckpool: program("ckpool"), Ckbench: program("ckbench"), Duration: 8 * time.Second, Size: tiny,
	})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.Print(&b); err != nil || r.Failed() {
		t.Errorf("%v\n%s", err, &b)
	}
}

// Miners mine on while the process is replaced, and every share counts once.
func TestUpgrade(t *testing.T) {
	r, err := Upgrade(t.Context(), UpgradeConfig{
		Ckpool: program("ckpool"), Ckbench: program("ckbench"),
		Miners: 300, Rate: 500, Idle: 50, Upgrades: 3, Every: 300 * time.Millisecond, Transactions: 50,
	})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.Print(&b); err != nil || r.Failed() || len(r.Upgrades) != 3 {
		t.Errorf("%v\n%s", err, &b)
	}
}
