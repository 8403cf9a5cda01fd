package reference

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/internal/testkit/postgres"
	"github.com/ckpool/ckpool/work"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

// databases are ones without rows of each backend.
var databases = map[string]func(t testing.TB) string{
	"sqlite":   func(t testing.TB) string { return t.TempDir() },
	"postgres": func(t testing.TB) string { return postgres.Filled(t, store.Open) },
}

func open(t testing.TB, where string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// run imports the logs of a directory under a name, and wants no damage.
func run(t testing.TB, s *store.Store, dir, name string) Summary {
	t.Helper()
	i := &Import{Dir: dir, Name: name, Network: "main", Store: s, Damaged: func(d Damage) { t.Error(d) }, most: 50}
	sum, err := i.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	consistent(t, s)
	return sum
}

func consistent(t testing.TB, s *store.Store) {
	t.Helper()
	differences, err := s.Check(t.Context(), nil)
	if err != nil || len(differences) > 0 {
		t.Errorf("check: %v %v", err, differences)
	}
}

// total of all pools.
func total(t testing.TB, s *store.Store) (sum store.Sum) {
	t.Helper()
	list, err := s.Sums(t.Context(), store.Query{By: store.ByPool})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		sum.Add(&r.Sum)
	}
	return sum
}

// contents are all that an import stores, for comparing.
func contents(t testing.TB, s *store.Store) string {
	t.Helper()
	var b strings.Builder
	add := func(v any, err error) {
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(text, '\n'))
	}
	for _, q := range []store.Query{{By: store.ByWorker, Each: true}, {By: store.ByWorker}, {By: store.ByAgent, Days: true, Each: true}, {By: store.ByPool}} {
		list, err := s.Sums(t.Context(), q)
		add(list, err)
	}
	shifts, err := s.Shifts(t.Context(), store.ShiftQuery{})
	add(shifts, err)
	blocks, err := s.Blocks(t.Context(), 0)
	add(blocks, err)
	list, _, err := s.Status(t.Context())
	for i := range list {
		for k := range list[i].Gaps {
			list[i].Gaps[k].Seen = 0
		}
		minutes, err := s.Minutes(t.Context(), list[i].ID, 0)
		add(minutes, err)
	}
	add(list, err)
	return b.String()
}

func exact(t testing.TB, s string) difficulty.Exact {
	t.Helper()
	x, err := difficulty.ParseExact(s)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// The lines are those of the reference's description.
func TestExample(t *testing.T) {
	for name, where := range databases {
		t.Run(name, func(t *testing.T) {
			s := open(t, where(t))
			sum := run(t, s, "testdata/example", "")
			if want := (Summary{Name: "ckdb", Files: 2, Lines: 9, Shares: 2, Rejected: 2, Jobs: 1, Blocks: 1, Read: sum.Bytes, Bytes: sum.Bytes}); sum != want {
				t.Errorf("%+v, want %+v", sum, want)
			}
			list, err := s.Sums(t.Context(), store.Query{By: store.ByWorker})
			if err != nil || len(list) != 1 {
				t.Fatalf("%v %v", list, err)
			}
			want := store.Row{
				Worker: store.Worker{Kind: store.User, Account: "alice", Name: "rig1"}, Seen: 1497596463_000000,
				Sum: store.Sum{
					Accepted: store.Class{Count: 2, Work: exact(t, "2048")}, AboveTarget: store.Class{Count: 1, Work: exact(t, "1024")}, Other: store.Class{Count: 1},
					FirstShare: 1497594049_000000, LastShare: 1497596463_000000, LastAccepted: 1497596400_000000, Best: exact(t, "5000"),
				},
			}
			if list[0] != want {
				t.Errorf("%+v\nwant %+v", list[0], want)
			}
			id := instanceOf("request logs", "ckdb")
			job, err := s.StoredJob(t.Context(), id, 6432090123456)
			if err != nil {
				t.Fatal(err)
			}
			prev, _ := work.ParseHash("00000000000000000012aabbccddeeff0123456789abcdef0011223344556677")
			if job.Height != 467207 || job.PrevHash != prev || job.Bits != 0x18019fb9 || job.Version != 0x20000000 || job.NTime != 0x5943a1c0 ||
				job.Reward != 1433214567 || job.Created != 1497594048_005300 || job.Difficulty.Float64() != difficulty.FromBits(0x18019fb9) {
				t.Errorf("job %+v", job)
			}
			blocks, err := s.Blocks(t.Context(), 0)
			if err != nil || len(blocks) != 1 {
				t.Fatalf("%v %v", blocks, err)
			}
			if b := blocks[0]; b.Hash != prev || b.Height != 467207 || b.Finder != want.Worker || b.State != "confirmed" || b.Confirmations != 1 ||
				b.Found != 1497596400_000000 || b.Changed != 1497596401_000000 || b.Difficulty != job.Difficulty || b.Reward != 1433214567 {
				t.Errorf("block %+v", b)
			}
			minutes, err := s.Minutes(t.Context(), id, 0)
			if err != nil || len(minutes) != 1 || minutes[0] != (store.Minute{At: 1497596460_000000, Users: 12, Workers: 34,
				Rate1m: exact(t, "2"), Rate5m: exact(t, "1"), Rate1h: exact(t, "0.5"), Rate24h: exact(t, "0.25")}) {
				t.Errorf("minutes %+v %v", minutes, err)
			}
		})
	}
}

// A share of a real pool's log: its hash is written as people write it.
func TestHashOrder(t *testing.T) {
	r, err := ParseRequest([]byte(`shares.1.json={"hash": "00000214a9e3bdbaf5c29b704bc4e39bc22dd3d466ff97eb2e609f7c948f4ef4"}`))
	if err != nil {
		t.Fatal(err)
	}
	v := values{Request: r}
	hash := v.hash("hash")
	if d := difficulty.OfHash(&hash); v.err != nil || fmt.Sprintf("%.12g", d) != "0.00187732873514" {
		t.Errorf("%v %v", d, v.err)
	}
}

// day writes the logs of a day, and knows the sums of it, by its own arithmetic.
type day struct {
	dir      string
	start    int64
	accepted map[string]*big.Rat // by worker
	counts   map[string]int64
	rejected [4]int64 // stale, duplicate, above, others
	lines    int64
	jobs     int64
	hashes   []string // of accepted shares
	credits  []string
	ntimes   []int64
}

const difficulties = "1 512 1024.5 0.001 42.123456789012 1000000000000.25 3333.3333333333335"

// newDay makes one of so many shares an hour.
func newDay(t testing.TB, perHour int) *day {
	t.Helper()
	d := &day{dir: t.TempDir(), start: 1497571200, accepted: map[string]*big.Rat{}, counts: map[string]int64{}}
	r := rand.New(rand.NewPCG(1, 2))
	one := new(big.Int).Lsh(big.NewInt(0xffff), 208)
	late := ""
	for hour := range int64(24) {
		var b strings.Builder
		b.WriteString(late)
		late = ""
		begin := d.start + hour*3600
		started := d.start
		if hour >= 12 { // the pool was started anew at noon
			started += 12 * 3600
		}
		var job int64
		line := func(format string, args ...any) {
			fmt.Fprintf(&b, format+"\n", args...)
			d.lines++
		}
		for n := range int64(perHour) {
			at := begin + n*3600/int64(perHour)
			if n%10 == 0 {
				d.jobs++
				job = started<<32 + d.jobs
				line(`workinfo.%d.json={"workinfoid":%d,"poolinstance":"main1","prevhash":"%064x","coinbase1":"%082x3503072107aabb","version":"20000000","ntime":"%08x","bits":"18019fb9","reward":1250000000,"merklehash":[],"createdate":"%d,5"}`,
					n, job, 1, 1, at-1, at)
			}
			worker := fmt.Sprintf("user%d.rig%d", r.IntN(3), r.IntN(4))
			user, _, _ := strings.Cut(worker, ".")
			diffs := strings.Fields(difficulties)
			diff := diffs[r.IntN(len(diffs))]
			want, _ := new(big.Rat).SetString(diff)
			hash := new(big.Int).Quo(new(big.Int).Mul(one, want.Denom()), want.Num())
			hash.Sub(hash, new(big.Int).SetUint64(r.Uint64()))
			hash.Sub(hash, new(big.Int).Lsh(new(big.Int).SetUint64(r.Uint64()), 64))
			sdiff, _ := new(big.Rat).SetFrac(one, hash).Float64()
			errn, result := 0, "true"
			if r.IntN(5) == 0 {
				errn, result = 1+r.IntN(5), "false"
			}
			text := fmt.Sprintf(`shares.%d.json={"workinfoid":%d,"clientid":17,"enonce1":"00","nonce2":"%016x","nonce":"00000000","ntime":"%08x","diff":%s,"sdiff":%v,"hash":"%064x","result":%s,"errn":%d,"createdate":"%d,%d","workername":"%s","username":"%s","agent":"agent%d"}`,
				n, job, n, at, diff, sdiff, hash, result, errn, at, n, worker, user, r.IntN(2))
			switch errn {
			case 0:
				if d.accepted[worker] == nil {
					d.accepted[worker] = new(big.Rat)
				}
				d.accepted[worker].Add(d.accepted[worker], want)
				d.counts[worker]++
				d.hashes, d.credits, d.ntimes = append(d.hashes, fmt.Sprintf("%064x", hash)), append(d.credits, diff), append(d.ntimes, at)
			case 2:
				d.rejected[0]++
			case 4:
				d.rejected[1]++
			case 5:
				d.rejected[2]++
			default:
				d.rejected[3]++
			}
			if n == int64(perHour)-1 && hour < 23 { // is in the next hour's file
				late = text + "\n"
				d.lines++
				continue
			}
			line("%s", text)
		}
		line(`heartbeat.%d.json={"createdate":"%d,0"}`, hour, begin+3599)
		name := filepath.Join(d.dir, fmt.Sprintf("ckdb%s.log", time.Unix(begin, 0).UTC().Format("2006010215")))
		data := []byte(b.String())
		if hour%2 == 0 {
			name += ".gz"
			var packed bytes.Buffer
			w := gzip.NewWriter(&packed)
			w.Write(data)
			w.Close()
			data = packed.Bytes()
		}
		write(t, name, string(data))
	}
	return d
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// check compares what is stored with what the day knows.
func (d *day) check(t testing.TB, s *store.Store) {
	t.Helper()
	list, err := s.Sums(t.Context(), store.Query{By: store.ByWorker})
	if err != nil {
		t.Fatal(err)
	}
	var all store.Sum
	for _, r := range list {
		all.Add(&r.Sum)
		name := r.Account + "." + r.Name
		got, ok := new(big.Rat).SetString(r.Accepted.Work.String())
		if want := d.accepted[name]; !ok || want == nil || r.Accepted.Count != d.counts[name] {
			t.Errorf("%s: %d shares, want %d", name, r.Accepted.Count, d.counts[name])
		} else if diff := new(big.Rat).Sub(got, want); diff.Sign() != 0 {
			// 3333.3333333333335 has 13 places: each is rounded at the 12th.
			if diff.Abs(diff).Cmp(big.NewRat(r.Accepted.Count, 2_000_000_000_000)) > 0 {
				t.Errorf("%s: work %s, want %s", name, r.Accepted.Work, want.FloatString(13))
			}
		}
	}
	if len(list) != len(d.accepted) {
		t.Errorf("%d workers, want %d", len(list), len(d.accepted))
	}
	if got := [4]int64{all.Stale.Count, all.Duplicate.Count, all.AboveTarget.Count, all.Other.Count}; got != d.rejected {
		t.Errorf("rejected %d, want %d", got, d.rejected)
	}
	if all.Repeated.Count != 0 {
		t.Errorf("%d repeated", all.Repeated.Count)
	}
}

func TestDay(t *testing.T) {
	d := newDay(t, 50)
	for name, where := range databases {
		t.Run(name, func(t *testing.T) {
			s := open(t, where(t))
			sum := run(t, s, d.dir, "")
			if sum.Lines != d.lines || sum.Shares != int64(len(d.hashes)) || sum.Jobs != d.jobs || sum.Files != 24 || sum.Read != sum.Bytes {
				t.Errorf("%+v, want %d lines, %d shares, %d jobs", sum, d.lines, len(d.hashes), d.jobs)
			}
			d.check(t, s)
			shifts, err := s.Shifts(t.Context(), store.ShiftQuery{})
			if err != nil {
				t.Fatal(err)
			}
			var ends []string
			for _, v := range slices.Backward(shifts) {
				ends = append(ends, fmt.Sprintf("%d jobs, %s", v.Jobs, v.Reason))
			}
			if got := strings.Join(ends, "; "); got != "60 jobs, restart; 60 jobs, " {
				t.Errorf("shifts: %s", got)
			}
		})
	}
}

// 39: reading all imports again leaves every sum equal.
func TestCase39(t *testing.T) {
	d := newDay(t, 20)
	s := open(t, t.TempDir())
	run(t, s, d.dir, "")
	before, sums := contents(t, s), total(t, s)
	if sum := run(t, s, d.dir, ""); sum.Lines != 0 || sum.Skipped != 23 {
		t.Errorf("a second import reads %+v", sum)
	}
	if after := contents(t, s); after != before {
		t.Errorf("a second import changes\n%s\nto\n%s", before, after)
	}
	// As another pool's: no share is credited again.
	sum := run(t, s, d.dir, "other")
	if sum.Shares != 0 || sum.Repeated != int64(len(d.hashes)) {
		t.Errorf("as another's: %+v", sum)
	}
	after := total(t, s)
	if after.Accepted != sums.Accepted || after.Best != sums.Best || after.Repeated != sums.Accepted {
		t.Errorf("as another's: %+v, before %+v", after, sums)
	}
}

// What this pool counted itself, while the reference still wrote its logs, is not
// credited again.
func TestCountedByPool(t *testing.T) {
	d := newDay(t, 5)
	s := open(t, t.TempDir())
	pool := store.Instance{ID: [16]byte{1}, Name: "pool", Network: "main"}
	if _, err := s.Register(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	hash, err := work.ParseHash(d.hashes[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), &store.Batch{
		Instance: pool.ID, To: store.Position{Epoch: 1, Number: 1}, At: 1, Workers: []store.Worker{{Kind: store.User, Account: "user0"}}, Agents: []string{""},
		Shares: []store.Share{{Number: 1, Received: d.ntimes[0] * 1_000_000, NTime: uint32(d.ntimes[0]), Hash: [16]byte(hash[:16]), Credit: exact(t, d.credits[0])}},
	}); err != nil {
		t.Fatal(err)
	}
	if sum := run(t, s, d.dir, ""); sum.Repeated != 1 || sum.Shares != int64(len(d.hashes))-1 {
		t.Errorf("%+v", sum)
	}
	if n := total(t, s).Accepted.Count; n != int64(len(d.hashes)) {
		t.Errorf("%d shares, want %d", n, len(d.hashes))
	}
}

// An import that is killed at any moment goes on where it was.
func TestKilled(t *testing.T) {
	if where := os.Getenv("REFERENCE_IMPORT"); where != "" {
		i := &Import{Dir: os.Getenv("REFERENCE_LOGS"), Network: "main", Store: open(t, where), most: 7}
		if _, err := i.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		return
	}
	d := newDay(t, 40)
	whole := open(t, t.TempDir())
	run(t, whole, d.dir, "")
	want := contents(t, whole)
	for name, empty := range databases {
		t.Run(name, func(t *testing.T) {
			where := empty(t)
			s := open(t, where)
			r := rand.New(rand.NewPCG(3, 4))
			killed := 0
			for done := false; !done; {
				c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
				c.Env = append(os.Environ(), "REFERENCE_IMPORT="+where, "REFERENCE_LOGS="+d.dir)
				if err := c.Start(); err != nil {
					t.Fatal(err)
				}
				// Until it stores something, so that it gets on, and a little more.
				ended := make(chan error, 1)
				go func() { ended <- c.Wait() }()
				at := func() store.Position {
					list, _, err := s.Status(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if len(list) == 0 {
						return store.Position{}
					}
					return list[0].At
				}
				begun := at()
				after := time.After(time.Duration(r.IntN(60)) * time.Millisecond) // an idle machine is done in half a second
				for wait := true; wait; {
					select {
					case err := <-ended:
						if done, wait = true, false; err != nil {
							t.Fatal(err)
						}
					case <-time.After(time.Millisecond):
						if at() != begun {
							wait = false
						}
					}
				}
				if done {
					break
				}
				select {
				case <-after:
					c.Process.Kill()
					<-ended
					killed++
				case err := <-ended:
					if done = true; err != nil {
						t.Fatal(err)
					}
				}
			}
			if killed < 3 {
				t.Errorf("killed %d times only", killed)
			}
			d.check(t, s)
			consistent(t, s)
			if got := contents(t, s); got != want {
				t.Errorf("it stored\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func share(n int64, change ...string) string {
	hash := fmt.Sprintf("00000000001%053x", n)
	h, _ := work.ParseHash(hash)
	return strings.NewReplacer(change...).Replace(fmt.Sprintf(
		`shares.%d.json={"workinfoid":6432090123456,"ntime":"5943a1c1","diff":1024.0,"sdiff":%v,"hash":"%s","result":true,"errn":0,"createdate":"1497594049,%d","workername":"alice.rig1","username":"alice","agent":"x"}`,
		n, difficulty.OfHash(&h), hash, n*1000))
}

// What is damaged is told with file and line, and the rest is imported.
func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	lines := []struct{ text, says string }{
		{share(1), ""},
		{"", "no request: want command.id.fields"},
		{share(2)[:100], "shares request, character 87 of its JSON: it is cut off"},
		{share(3, `"diff":1024.0`, `"diff":-1`), `shares: diff is "-1", want a number from 0 to 1e+18`},
		{share(4, `"diff":1024.0`, `"diff":NaN`), `want a value, got "NaN"`},
		{share(5, `"errn":0`, `"errn":"x"`), `shares: errn is "x", want a number`},
		{share(6, `"hash":"0`, `"hash":"f`), "shares: sdiff is "},
		{share(7, `"hash":"00`, `"hash":"`), "want 64 hex digits"},
		{share(8, `"ntime":"5943a1c1"`, `"ntime":"ffffffff"`), "shares: ntime is"},
		{share(9, "1497594049", "1497994049"), "a time about the hour 2017061606"},
		{share(10, `"username":"alice",`, "", `"workername":"alice.rig1",`, ""), "neither username nor workername"},
		{share(11) + "}", "something follows it"},
		{share(12, `alice.rig1`, `alice."rig1"`), "want"},
		{share(13, `"result":true`, `"result":false`), `shares: result is "false", want true where errn is 0`},
		{"chkpass.1.username=alice\tcreatedate=1497594049,0", "chkpass: no request of a pool"},
		{strings.Repeat("x", longestLine+1), "the line is longer than 10 MiB"},
		{`workinfo.1.json={"workinfoid":1,"prevhash":"","createdate":"1497594049,0"}`, `workinfo: prevhash is "", want 64 hex digits`},
		{`block.1.json={"height":1,"blockhash":"` + strings.Repeat("0", 64) + `","confirmed":"F","createdate":"1497594049,0"}`, `block: confirmed is "F", want n or 1`},
		{share(14, `"alice.rig1"`, `"alice_\u00e9\ud83d\ude00\\"`), ""}, // escaped
		{share(15, `"alice.rig1"`, "\"alice.\x01\xff\""), ""},           // not as JSON wants it
		{"shares.1." + "workinfoid=6432090123456\terrn=2\tdiff=4\tcreatedate=1497594050,0\tworkername=al=ice.x", ""},
	}
	var text strings.Builder
	for _, l := range lines {
		text.WriteString(l.text + "\r\n")
	}
	file := filepath.Join(dir, "ckdb2017061606.log")
	write(t, file, text.String())
	s := open(t, t.TempDir())
	told := map[int64]string{}
	i := &Import{Dir: dir, Network: "main", Store: s, Damaged: func(d Damage) {
		if d.File != file {
			t.Errorf("file %s", d.File)
		}
		told[d.Line] = d.Err.Error()
	}}
	sum, err := i.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	damaged := int64(0)
	for n, l := range lines {
		got := told[int64(n)+1]
		if l.says != "" {
			damaged++
		}
		if (l.says == "") != (got == "") || !strings.Contains(got, l.says) {
			t.Errorf("line %d: %q, want %q", n+1, got, l.says)
		}
	}
	if sum.Damaged != damaged || sum.Lines != int64(len(lines)) || sum.Shares != 3 || sum.Rejected != 1 {
		t.Errorf("%+v", sum)
	}
	list, err := s.Sums(t.Context(), store.Query{By: store.ByWorker})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range list {
		names = append(names, fmt.Sprintf("%s %s %d", r.Account, r.Name, r.Accepted.Count))
	}
	if got := strings.Join(names, ", "); got != "al=ice x 0, alice \x01\uFFFD 1, alice _é😀\\ 1, alice rig1 1" {
		t.Errorf("workers: %q", got)
	}
	status, _, err := s.Status(t.Context())
	if err != nil || len(status[0].Gaps) != 1 || status[0].Gaps[0].First != 2017061606_000000002 || status[0].Gaps[0].Last != 2017061606_000000018 {
		t.Errorf("gaps %+v %v", status[0].Gaps, err)
	}
}

// The last line that was read may be one that was left out: the next import goes on behind it.
func TestDamagedLast(t *testing.T) {
	for name, last := range map[string]string{
		"no request": "chkpass.1.username=alice\tcreatedate=1497594050,0", "no difficulty": share(2, `"diff":1024.0`, `"diff":-1`), "no time": share(2, `"createdate":"1497594049,`, `"createdate":"0,`), "nothing": "x",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "ckdb2017061606.log")
			text := share(1) + "\n" + last + "\n"
			write(t, file, text)
			s := open(t, t.TempDir())
			if sum, err := (&Import{Dir: dir, Network: "main", Store: s}).Run(t.Context()); err != nil || sum.Shares != 1 || sum.Damaged != 1 {
				t.Fatalf("%+v %v", sum, err)
			}
			write(t, file, text+share(3)+"\n")
			if sum := run(t, s, dir, ""); sum.Shares != 1 || sum.Lines != 1 {
				t.Errorf("%+v", sum)
			}
		})
	}
}

// A packed file whose end is missing: the lines that can be read are stored, and the
// next import reads on where a whole one takes its place.
func TestCutOff(t *testing.T) {
	dir := t.TempDir()
	var text strings.Builder
	for n := range int64(2000) {
		text.WriteString(share(n+1) + "\n")
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	w.Write([]byte(text.String()))
	w.Close()
	file := filepath.Join(dir, "ckdb2017061606.log.gz")
	write(t, file, packed.String()[:packed.Len()/2])
	s := open(t, t.TempDir())
	var told []Damage
	i := &Import{Dir: dir, Network: "main", Store: s, Damaged: func(d Damage) { told = append(told, d) }}
	sum, err := i.Run(t.Context())
	if err != nil || sum.Damaged != 1 || sum.Shares == 0 || sum.Shares >= 2000 || len(told) != 1 || told[0].Line != sum.Shares+1 ||
		!strings.HasSuffix(told[0].String(), "the rest of the file cannot be read: unexpected EOF") {
		t.Errorf("%+v %v %v", sum, err, told)
	}
	write(t, file, packed.String())
	if again := run(t, s, dir, ""); again.Shares != 2000-sum.Shares {
		t.Errorf("the rest: %+v", again)
	}
}

// A pool that still writes: its last line is read when it is whole.
func TestUnfinished(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ckdb2017061606.log")
	text := share(1) + "\n" + share(2) + "\n"
	s := open(t, t.TempDir())
	write(t, file, text[:len(text)-20])
	if sum := run(t, s, dir, ""); sum.Shares != 1 || sum.Unfinished != file {
		t.Errorf("%+v", sum)
	}
	write(t, file, text)
	if sum := run(t, s, dir, ""); sum.Shares != 1 || sum.Unfinished != "" {
		t.Errorf("%+v", sum)
	}
	// Another hour came: what has no end now will never have one.
	write(t, file, text+share(3)[:50])
	write(t, filepath.Join(dir, "ckdb2017061607.log"), share(4)+"\n")
	i := &Import{Dir: dir, Network: "main", Store: s}
	if sum, err := i.Run(t.Context()); err != nil || sum.Shares != 1 || sum.Damaged != 1 {
		t.Errorf("%+v %v", sum, err)
	}
}

// What cannot be imported is refused in one line, and nothing is changed.
func TestRefused(t *testing.T) {
	s := open(t, t.TempDir())
	imported := t.TempDir()
	write(t, filepath.Join(imported, "ckdb2017061606.log"), share(1)+"\n")
	run(t, s, imported, "")
	before := contents(t, s)
	for _, c := range []struct {
		files string // with share(2)
		i     Import
		says  string
	}{
		{"ckpool.log", Import{}, "there are no request logs, such as ckdb2017061606.log"},
		{"ckdb2017061606.log ckpool2017061606.log", Import{}, "there are request logs of ckdb, ckpool: say of which with --logs"},
		{"ckdb2017061607.log.lrz", Import{}, "ckdb2017061607.log.lrz: cannot be read: unpack it with lrzip -d first"},
		{"ckdb2017061607.log a/ckdb2017061607.log.gz", Import{}, "are of the same hour: move away the one that is not to be read"},
		{"ckdb2017061606.log", Import{}, "it is not the log that the last import of ckdb ended in, at line 1: give other logs another --as"},
		{"ckdb2017061605.log ckdb2017061607.log", Import{}, "the last import of ckdb ended in the log of hour 2017061606, which is not there"},
		{"ckdb2017061607.log", Import{Network: "test"}, "pool ckdb is on test, the database has shares of main"},
	} {
		c.i.Dir, c.i.Store = t.TempDir(), s
		if c.i.Network == "" {
			c.i.Network = "main"
		}
		for _, f := range strings.Fields(c.files) {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(c.i.Dir, f)), 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(c.i.Dir, f), share(2)+"\n")
		}
		if sum, err := c.i.Run(t.Context()); err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %+v %v, want %s", c.files, sum, err, c.says)
		}
	}
	if after := contents(t, s); after != before {
		t.Errorf("changed:\n%s\nto\n%s", before, after)
	}
	// Logs that were imported may be moved away.
	later := t.TempDir()
	write(t, filepath.Join(later, "ckdb2017061607.log"), share(2)+"\n")
	if sum := run(t, s, later, ""); sum.Shares != 1 {
		t.Errorf("%+v", sum)
	}
}
