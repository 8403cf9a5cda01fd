package rewards_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/rewards"
)

var update = flag.Bool("update", false, "write the files of testdata anew")

// examples are rewards whose files are in testdata.
func examples(t testing.TB) map[string]string {
	list := map[string]string{}
	export := func(name string, b rewards.Block, p rewards.Parameters, s rewards.Source) {
		var to bytes.Buffer
		if _, err := rewards.Export(context.Background(), &to, b, p, s); err != nil {
			t.Fatal(err)
		}
		list[name] = to.String()
	}
	b := rewards.Block{Hash: rewards.Hash{31: 0, 0: 0xab}, Height: 1300, Value: 1_432_109_877, Difficulty: exact(t, "2000"), Instance: first, Finder: user("alice")}
	pplns := rewards.Parameters{Scheme: rewards.PPLNS, Times: exact(t, "5"), Fee: 9000, Fees: map[rewards.Account]int64{user("bob"): 0}}
	var shares shares
	for _, l := range exampleA {
		var r received
		var name, work string
		if _, err := fmt.Sscan(l, &r.height, &name, &work); err != nil {
			t.Fatal(err)
		}
		r.instance, r.share = rewards.Instance{byte(1 + len(name)%2)}, rewards.Share{Account: user(name), Work: exact(t, work)}
		shares = append(shares, r)
	}
	export("pplns.jsonl", b, pplns, shares)
	export("proportional.jsonl", b, rewards.Parameters{Scheme: rewards.Proportional, Previous: 900}, shares)
	b.Value, b.Direct = 10, 990
	export("solo.jsonl", b, rewards.Parameters{Scheme: rewards.Solo}, nil)
	return list
}

// Files are as they were: people have those that were written before.
func TestFiles(t *testing.T) {
	for name, text := range examples(t) {
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), text); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
		if _, err := rewards.Verify(bytes.NewReader(want)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever is changed in a file is told, with its line. Whole lines left out, doubled
// or exchanged are told as well. Bugs that this was seen to find: amounts not compared;
// the count of lines not compared; lines behind
// the end not seen; the order of instances not checked.
func TestChanged(t *testing.T) {
	for name, text := range examples(t) {
		lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
		lines[len(lines)-1] += "\n"
		try := func(what string, list ...[]string) {
			var changed string
			for _, l := range list {
				changed += strings.Join(l, "")
			}
			if changed == text {
				return
			}
			_, err := rewards.Verify(strings.NewReader(changed))
			if err == nil || !strings.HasPrefix(err.Error(), "line ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		for i := range lines {
			try(fmt.Sprintf("without line %d", i+1), lines[:i], lines[i+1:])
			try(fmt.Sprintf("line %d twice", i+1), lines[:i+1], lines[i:])
			try(fmt.Sprintf("cut before line %d", i+1), lines[:i])
			// Which of two names is defined first has no part in the result.
			if defines := func(l string) bool { return strings.HasPrefix(l, `{"account"`) || strings.HasPrefix(l, `{"instance"`) }; i > 0 && !defines(lines[i]) && !defines(lines[i-1]) {
				try(fmt.Sprintf("line %d before the last", i+1), lines[:i-1], lines[i:i+1], lines[i-1:i], lines[i+1:])
			}
		}
		// What has no part in the result is the word of who wrote it: of heights the order
		// has one alone, and the fee of the header is that of no account here.
		free := map[string]bool{"hash": true, "height": true, "instance": true, "previous": true, "id": true}
		if name != "pplns.jsonl" {
			free["difficulty"], free["times"], free["add"] = true, true, true
		}
		line, start := 0, 0
		for i := range text {
			if i-start >= len(lines[line]) {
				line, start = line+1, i
			}
			c := text[i]
			if c < '0' || c > '9' {
				continue
			}
			inputs := strings.Contains(lines[line], `"sums"`) || strings.Contains(lines[line], `"id"`) || line == 0
			if inputs && (free[member(text[:i])] || line == 0 && member(text[:i]) == "fee") {
				continue
			}
			if name == "solo.jsonl" && line == 1 && member(text[:i]) == "fee" {
				continue // the coinbase has divided the block
			}
			try(fmt.Sprintf("byte %d of %q", i, text[max(0, i-20):i+1]), []string{text[:i] + string('0'+(c-'0'+1)%10) + text[i+1:]})
		}
		try("without its last byte", []string{text[:len(text)-1]})
		try("with a line behind", []string{text + "\n"})
		try("of Windows", []string{strings.ReplaceAll(text, "\n", "\r\n")})
	}
}

// member is the name of the member that a text ends in the value of.
func member(text string) string {
	text = text[:strings.LastIndex(text, `":`)]
	return text[strings.LastIndexByte(text, '"')+1:]
}

// Bugs that this was seen to find: the order of shares, and that of accounts, not checked;
// lines read that have another form.
func TestVerifyErrors(t *testing.T) {
	text := examples(t)["pplns.jsonl"]
	for _, tt := range []struct{ old, new, want string }{
		{text, "", `line 1: the file ends here`},
		{text, "hello\n", "line 1: this is no file of a ckpool reward"},
		{`"version":1`, `"version":2`, "line 1: the file is of version 2, this program reads version 1: take the release that wrote it"},
		{`{"header":`, `{"header": `, "line 1: the line is not as this program writes it"},
		{`"fee":9000}}}`, `"fee":9000,"tip":1}}}`, `line 1: "{\"header\":`},
		{`"number":1,"id"`, `"number":2,"id"`, "line 2: instance 2 comes where instance 1 is due"},
		{`"fee":9000}}` + "\n" + `{"account"`, `"fee":1000001}}` + "\n" + `{"account"`, "line 3: user alice: fee of 1000001 millionths: want 0 to 1000000"},
		{`[1,"300"]`, `[9,"300"]`, "line 5: account 9 has not been named"},
		{`[1,"300"]`, `[1,"0300"]`, "line 5: the line is not as this program writes it"},
		{`[1,"300"]`, `[1,"3e2"]`, `line 5: work "3e2" is not a plain decimal`},
		{`[1,"300"]`, `[1,"0"]`, "line 5: work of 0, which no sum and no share has"},
		{`{"sums":{"height":1206`, `{"sums":{"height":1208`, "shares of height 1208 come behind those of 1207"},
		{`[1,1,"2900"]`, `[1,1,"2900"],[1,1,"1"]`, "the sums are"},
		{`[1,1,"2900"],[2,4,"55"]`, `[2,4,"55"],[1,1,"2900"]`, "line 14: share of user alice at height 901, instance 02000000000000000000000000000000, is not in the order of shares"},
		{`[1,"300"],[2,"120"]`, `[2,"120"],[1,"300"]`, "line 5: the sum of user alice stands in the wrong place: accounts go up by kind and name"},
		{`"amount":`, `"amount":1`, `the file says {"credit"`},
		{text, strings.Repeat("x", 1<<19), "line 1: the line is longer than 262144 bytes"},
	} {
		if !strings.Contains(text, tt.old) {
			t.Errorf("the file has no %s:\n%s", tt.old, text)
			continue
		}
		_, err := rewards.Verify(strings.NewReader(strings.Replace(text, tt.old, tt.new, 1)))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.60s for %.60s: %v, want %s", tt.new, tt.old, err, tt.want)
		}
	}
}

// FuzzVerify: what is verified adds up, and what is not is told in one line.
func FuzzVerify(f *testing.F) {
	for _, text := range examples(f) {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := rewards.Verify(bytes.NewReader(text))
		if err != nil {
			if strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "line ") {
				t.Errorf("%q", err)
			}
			return
		}
		sum := r.Fee
		for _, c := range r.Credits {
			if c.Amount < 0 {
				t.Errorf("%v has %d", c.Account, c.Amount)
			}
			sum += c.Amount
		}
		if sum != r.Block.Value+r.Block.Direct || r.Fee < 0 {
			t.Errorf("%d is paid of %d and %d", sum, r.Block.Value, r.Block.Direct)
		}
	})
}

// large is a window of 200 million shares of difficulty 1, with a remainder at each
// account: sums of 2,000 heights, and single shares at its edge.
type large struct{ heights, accounts, perHeight int }

const tip = 900_000

func (l large) account(i int) rewards.Account {
	return rewards.Account{Kind: "address", Name: fmt.Sprintf("bc1qar0srrr7xfkvy5l643lydnw9re59gtzz%05d", i)}
}

func (l large) Sums(context.Context) iter.Seq2[rewards.Sum, error] {
	return func(yield func(rewards.Sum, error) bool) {
		names := make([]rewards.Account, l.accounts)
		for i := range names {
			names[i] = l.account(i)
		}
		for h := range l.heights {
			for i, a := range names {
				n := l.perHeight / l.accounts
				if i < l.perHeight%l.accounts {
					n++
				}
				if !yield(rewards.Sum{Height: int64(tip - h), Instance: first, Account: a, Work: difficulty.ExactOf(float64(n) * 1.5)}, nil) {
					return
				}
			}
		}
	}
}

func (l large) Shares(context.Context, int64, rewards.Instance) iter.Seq2[rewards.Share, error] {
	return func(yield func(rewards.Share, error) bool) {
		for i := range l.perHeight {
			if !yield(rewards.Share{Account: l.account(i % l.accounts), Work: difficulty.ExactOf(1.5)}, nil) {
				return
			}
		}
	}
}

// peak runs a function and gives the most memory of the heap that was seen meanwhile.
func peak(run func()) (most uint64) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapSys+m.StackSys-m.HeapReleased)
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	run()
	close(done)
	<-ended
	return most
}

// What a window of 200 million shares takes: its computation, its file, and verifying
// that.
func BenchmarkWindow(b *testing.B) {
	for _, l := range []large{{2000, 10_000, 100_000}, {200, 100_000, 1_000_000}} {
		shares := float64(l.heights-1)*float64(l.perHeight) + float64(l.perHeight)/2
		block := rewards.Block{Height: tip, Value: 312_500_000, Difficulty: difficulty.ExactOf(shares * 1.5), Instance: first, Finder: l.account(0)}
		p := rewards.Parameters{Scheme: rewards.PPLNS, Times: difficulty.ExactOf(1), Fee: 9000}
		name := fmt.Sprintf("%d heights of %d accounts", l.heights, l.accounts)
		file := filepath.Join(b.TempDir(), "proof.jsonl")
		measure := func(what string, run func() (*rewards.Reward, error)) {
			b.Run(name+"/"+what, func(b *testing.B) {
				for b.Loop() {
					runtime.GC()
					var r *rewards.Reward
					var err error
					most := peak(func() { r, err = run() })
					if err != nil {
						b.Fatal(err)
					}
					if !r.Window.Full || r.Window.Cut == nil || r.Window.Cut.Shares != int64(l.perHeight)/2 || len(r.Credits) != l.accounts {
						b.Fatalf("window %+v, cut %+v, %d accounts", r.Window, r.Window.Cut, len(r.Credits))
					}
					b.ReportMetric(float64(most)/1e6, "MB")
				}
			})
		}
		measure("compute", func() (*rewards.Reward, error) { return rewards.Compute(context.Background(), block, p, l) })
		measure("export", func() (*rewards.Reward, error) {
			f, err := os.Create(file)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			return rewards.Export(context.Background(), f, block, p, l)
		})
		measure("verify", func() (*rewards.Reward, error) {
			f, err := os.Open(file)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			return rewards.Verify(f)
		})
	}
}
