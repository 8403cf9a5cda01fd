package demo

import (
	"encoding/json"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckpool/ckpool/internal/testkit/wait"
)

// commands waits for a step of the tour, and are those that it shows.
func (r *run) commands(about string) (list []string) {
	r.t.Helper()
	r.wait(about)
	_, rest, _ := strings.Cut(r.screen.String(), about)
	_, rest, _ = strings.Cut(rest, "\n")
	for line := range strings.Lines(rest) {
		command, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "  ")
		if !ok {
			break
		}
		list = append(list, command)
	}
	if len(list) == 0 {
		r.t.Fatalf("no commands behind %q:\n%s", about, r.screen.String())
	}
	return list
}

// shell is the second terminal.
type shell struct {
	t        *testing.T
	keyboard *os.File
	tty      *os.File
	before   string // what was typed first
}

func newShell(t *testing.T, before []string) *shell {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keyboard.Close() })
	n, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return &shell{t, keyboard, tty, strings.Join(before, "\n")}
}

// try runs a command as it stands on the screen, in a directory that is not the demo's.
func (s *shell) try(command string) (string, error) {
	s.t.Helper()
	cmd := exec.Command("sh", "-c", s.before+"\n"+command)
	cmd.Dir, cmd.Stdin = "/", s.tty
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run is what a command prints, in which want is to be.
func (s *shell) run(command, want string) string {
	s.t.Helper()
	out, err := s.try(command)
	if err != nil || !regexp.MustCompile(want).MatchString(out) {
		s.t.Fatalf("%s: %v, want %q:\n%s", command, err, want, out)
	}
	return out
}

// answer runs a command that asks, and says yes.
func (s *shell) answer(command, question, want string) string {
	s.t.Helper()
	if _, err := s.keyboard.WriteString("yes\n"); err != nil {
		s.t.Fatal(err)
	}
	if out := s.run(command, want); !strings.Contains(out, question) {
		s.t.Errorf("%s does not ask %q:\n%s", command, question, out)
	} else {
		return out
	}
	return ""
}

// A person walks through the money with the commands on the screen, each as it stands
// there: blocks of three unequal miners are rewarded, one becomes an orphan, the others
// mature and are paid out, by a transaction that replaces another; then all adds up, also
// after a second start.
func TestMoney(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := Config{Dir: dir, Listen: freeAddr(t), Money: true, pace: pace{pool: 2 * time.Second, others: 2 * time.Second, several: 6}}
	r := start(t, c)
	page := r.commands("see the accounts, and pay, in a browser")
	form := url.Values{"name": {"staff"}, "password": {page[1][strings.LastIndexByte(page[1], ' ')+1:]}}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	login, err := http.NewRequestWithContext(t.Context(), http.MethodPost, page[0]+"login", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	login.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	login.Header.Set("Origin", strings.TrimSuffix(page[0], "/"))
	if answer, err := (&http.Client{Jar: jar}).Do(login); err != nil {
		t.Error(err)
	} else if answer.Body.Close(); answer.StatusCode != http.StatusOK || answer.Request.URL.Path != "/account" {
		t.Errorf("staff logs in: %d at %s", answer.StatusCode, answer.Request.URL)
	}
	const first = "see what becomes of the money, in another terminal"
	see := r.commands(first)
	place := filepath.Join(dir, moneyPlace)
	sh := newShell(t, see[:2])
	sh.run(see[3], "^nobody is owed anything")
	sh.run(see[4], `(?m)^fee +10000 `)

	// A reward waits a minute for late shares.
	wait.Until(t, 2*time.Minute, "a block is rewarded", func() bool { return strings.Contains(r.screen.String(), " rewarded: ") })
	divided := r.commands("how a block was divided, and the proof of it")
	sh.run(see[2], `(?m)^[0-9]+ +(confirmed|matured) +[0-9]+ +50 BTC +0.5 BTC +49.5 BTC `)
	sh.run(divided[0], `50\.?0* BTC|5,000,000,000`)
	sh.run(divided[1], "^$")
	sh.run(divided[2], "proof is right: what it says was computed anew from its shares")

	replaced := sh.run(r.commands("have others replace the pool's newest block")[0], `^the pool's block [0-9,]+ was replaced by another`)
	r.wait("block " + strings.Fields(replaced)[3] + " orphaned: ")

	pay := r.commands("there is something to pay out")
	s := &settings{seed: readSeed(t, place)}
	alice, bob, carol := s.wallet("alice").Address(), s.wallet("bob").Address(), s.wallet("carol").Address()
	sh.run(pay[0], `(?m)^`+alice+` .*BTC`)
	wait.Until(t, time.Minute, "all three are to be paid", func() bool {
		out, err := sh.try(pay[1])
		return err == nil && regexp.MustCompile(`(?m)^`+carol+` +[0-9.]+ BTC`).MatchString(out) && strings.Contains(out, bob)
	})
	sh.answer(pay[2], "send this? [yes/no]", `(?m)^1 +1 +broadcast `)

	bump := r.commands("the pool's blocks leave it alone for 45s")
	txid := regexp.MustCompile(`[0-9a-f]{64}`)
	before := txid.FindString(sh.run(bump[0], `(?m)^state +broadcast$`))
	sh.answer(bump[1], "20.000 satoshis per virtual byte? [yes/no]", `(?m)^1 +1 +broadcast `)

	paid := r.commands("they are paid, and owed what matured since")
	r.wait("payment 1 of ")
	sh.run(paid[0], "owed and mature: ")
	shown := sh.run(paid[1], `(?m)^state +confirmed$`)
	if after := txid.FindString(shown); before == "" || after == before {
		t.Errorf("transaction %s of payment 1 was not replaced:\n%s", before, shown)
	}
	sh.run(paid[2], "(?m)^all blocks are in the chain as they are here, and the wallet has what is owed:$")
	sh.run(paid[3], `(?m) add +.* 0\.0000001 `)

	var payments struct {
		Outputs []struct {
			User  string
			Debit int64
		}
	}
	if err := json.Unmarshal([]byte(sh.run(paid[1]+" --json", "")), &payments); err != nil {
		t.Fatal(err)
	}
	debits := map[string]int64{}
	for _, o := range payments.Outputs {
		debits[o.User] = o.Debit
	}
	if len(debits) != 3 || debits[alice] <= debits[bob] || debits[bob] <= debits[carol] || debits[carol] <= 0 {
		t.Errorf("alice, bob and carol mine 6, 3 and 1 shares a second, and were paid %d, %d and %d", debits[alice], debits[bob], debits[carol])
	}
	sumsToZero(t, sh.run(paid[0]+" --json", ""))

	r.stop()
	if left := leftovers(t, place); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
	old := r.screen.String()
	r = start(t, c)
	if again := r.commands(first); again[1] != see[1] {
		t.Errorf("after a second start the node and database are elsewhere:\n%s\nbefore:\n%s", again[1], see[1])
	}
	r.wait("mining began")
	r.wait(" accepted: ")
	sh.run(paid[1], `(?m)^state +confirmed$`)
	sh.run(paid[2], "the wallet has what is owed")
	sh.run(paid[3], `(?m) add +.* 0\.0000001 `)
	for line := range strings.Lines(r.screen.String()) {
		if strings.Contains(line, " rewarded: ") && strings.Contains(old, line) {
			t.Errorf("an old block is told again: %s", line)
		}
	}
	r.stop()
}

// sumsToZero sums all accounts of the ledger.
func sumsToZero(t *testing.T, balances string) {
	t.Helper()
	var all struct {
		Pool     map[string]int64
		Balances []struct{ Balance, Immature int64 }
	}
	if err := json.Unmarshal([]byte(balances), &all); err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for _, amount := range all.Pool {
		sum += amount
	}
	for _, b := range all.Balances {
		sum += b.Balance + b.Immature
	}
	if sum != 0 || len(all.Balances) != 3 {
		t.Errorf("the ledger sums to %d:\n%s", sum, balances)
	}
}
