package history

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// small is a shape in which everything happens soon.
func small(slots int) shape {
	return shape{slots, []Resolution{{10 * time.Second, 12}, {time.Minute, 10}, {5 * time.Minute, 6}}}
}

func headerOf(slots int) []byte {
	s := small(slots)
	return s.header()
}

// dying is a file of a process that ends before a write.
type dying struct {
	file
	left *int // writes until then; negative: it goes on
}

var errDead = errors.New("the process has ended")

func (f dying) WriteAt(b []byte, at int64) (int, error) {
	if *f.left == 0 {
		return 0, errDead
	}
	*f.left--
	return f.file.WriteAt(b, at)
}

// oracle is what a table should have, in maps. Columns are by resolution and place.
type oracle struct {
	shape
	columns []map[int64]oracleColumn
}

type oracleColumn struct {
	period int64
	values map[string]float64
}

func newOracle(s shape) *oracle {
	o := &oracle{shape: s}
	for range s.resolutions {
		o.columns = append(o.columns, map[int64]oracleColumn{})
	}
	return o
}

func (o *oracle) clone() *oracle {
	c := newOracle(o.shape)
	for r := range o.columns {
		for place, col := range o.columns[r] {
			c.columns[r][place] = oracleColumn{col.period, maps.Clone(col.values)}
		}
	}
	return c
}

func (o *oracle) at(r int, period int64, name string) float64 {
	col := o.columns[r][period%int64(o.resolutions[r].Periods)]
	if v, ok := col.values[name]; ok && col.period == period {
		return v
	}
	return math.NaN()
}

func (o *oracle) put(r int, period int64, values map[string]float64) {
	o.columns[r][period%int64(o.resolutions[r].Periods)] = oracleColumn{period, values}
}

func (o *oracle) write(now time.Time, values map[string]float64) {
	period := now.Unix() / 10
	o.put(0, period, maps.Clone(values))
	o.means(period)
}

// recover is for a restart.
func (o *oracle) recover(now time.Time) {
	newest := int64(0)
	for _, col := range o.columns[0] {
		if col.period <= now.Unix()/10 {
			newest = max(newest, col.period)
		}
	}
	if newest > 0 {
		o.means(newest)
	}
}

func (o *oracle) means(period int64) {
	for r := 1; r < len(o.resolutions); r++ {
		ratio := int64(o.resolutions[r].Period / o.resolutions[r-1].Period)
		period /= ratio
		means := map[string]float64{}
		for _, name := range oracleNames {
			var sum, n float64
			for k := period * ratio; k < (period+1)*ratio; k++ {
				if v := o.at(r-1, k, name); !math.IsNaN(v) {
					sum += v
					n++
				}
			}
			if n > 0 {
				means[name] = sum / n
			}
		}
		o.put(r, period, means)
	}
}

// inOrder is a map by its keys.
func inOrder(m map[string]float64) iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			if !yield(name, m[name]) {
				return
			}
		}
	}
}

// forget is for a series that has given way.
func (o *oracle) forget(name string) {
	for _, columns := range o.columns {
		for _, col := range columns {
			delete(col.values, name)
		}
	}
}

var oracleNames = []string{"alice", "alice.rig", "bob", "carol", strings.Repeat("long", 100) + "1", strings.Repeat("long", 100) + "2"}

// differs says where a table is not what it should be, "" nowhere.
func (o *oracle) differs(t *table, now time.Time) string {
	for r, k := range o.resolutions {
		last := now.Unix() / int64(k.Period/time.Second)
		first := max(last-int64(k.Periods)+1, 0)
		for _, name := range oracleNames {
			got := slices.Repeat([]float64{math.NaN()}, int(last-first+1))
			if slot, ok := t.index[key(name)]; ok {
				if err := t.fill(got, r, slot, first, last, 1); err != nil {
					return err.Error()
				}
			}
			for i, v := range got {
				if want := o.at(r, first+int64(i), name); !near(v, want) {
					return fmt.Sprintf("%.20s, period %d of %s: %v, want %v", name, first+int64(i), k.Period, v, want)
				}
			}
		}
	}
	return ""
}

func near(a, b float64) bool {
	return math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) <= 1e-5*math.Abs(b)
}

// A table has what was written, over restarts, ends of the process between any two
// writes, and steps of the clock to both sides.
func TestTable(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		s := small(rapid.SampledFrom([]int{3, 4, 200}).Draw(t, "slots"))
		path := filepath.Join(dir, fmt.Sprint(rand.Uint64()))
		defer os.Remove(path)
		left := -1
		var tab *table
		now := time.Unix(rapid.Int64Range(1e9, 1e9+1e6).Draw(t, "start"), 0)
		load := func() {
			left = -1
			tab = newTable(path, s)
			tab.open = func(path string) (file, error) {
				f, err := openFile(path)
				return dying{f, &left}, err
			}
			if damage, err := tab.load(now); damage != "" || err != nil {
				t.Fatal(damage, err)
			}
		}
		load()
		o := newOracle(s)
		type place struct {
			slot int
			used time.Time
		}
		has := map[string]place{} // of series
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			values := map[string]float64{}
			for _, name := range oracleNames {
				if rapid.IntRange(0, 2).Draw(t, "given") > 0 {
					values[name] = float64(rapid.IntRange(0, 1000).Draw(t, "value"))
				}
			}
			if rapid.IntRange(0, 3).Draw(t, "dies") == 0 {
				left = rapid.IntRange(0, 12).Draw(t, "after")
			}
			begin := now.Truncate(10 * time.Second)
			noRoom, err := tab.write(now, inOrder(values))
			died := err != nil
			if died && !errors.Is(err, errDead) {
				t.Fatal(err)
			}
			left = -1
			if died || rapid.IntRange(0, 4).Draw(t, "restart") == 0 {
				tab.close()
				load()
			}
			for name, at := range has {
				if slot, ok := tab.index[key(name)]; !ok || slot != at.slot {
					delete(has, name)
					o.forget(name)
					if begin.Sub(at.used) <= keepUsed*10*time.Second {
						t.Fatalf("%.20s gave way %v after its last value", name, begin.Sub(at.used))
					}
				}
			}
			if len(tab.index) > s.slots || tab.index[""] != 0 {
				t.Fatalf("index %v", tab.index)
			}
			for name := range values {
				if slot, ok := tab.index[key(name)]; ok {
					if at, known := has[name]; !died || !known || at.slot != slot { // else the value need not have come to the file
						has[name] = place{slot, begin}
					}
					continue
				}
				delete(values, name)
				if !died {
					noRoom--
				}
			}
			for name, at := range has { // as for the table, if the clock was set back
				if at.used.After(begin) {
					has[name] = place{at.slot, begin}
				}
			}
			if !died && noRoom != 0 {
				t.Fatalf("%d more without room than are not there", noRoom)
			}
			after := o.clone()
			if died {
				for r, k := range s.resolutions { // what was in the place of a period goes before that is there
					if place := tab.period(r, now) % int64(k.Periods); tab.tags[r][place] == 0 {
						delete(o.columns[r], place)
					}
				}
				o.recover(now)
			}
			after.write(now, values)
			switch {
			case died && !tab.has(0, tab.period(0, now)) && o.differs(tab, now) == "": // it is not there, even if it is empty
			case after.differs(tab, now) == "":
				o = after
			case died && o.differs(tab, now) == "":
			default:
				t.Fatalf("died %v: %s; before: %s; at %d", died, after.differs(tab, now), o.differs(tab, now), now.Unix())
			}
			switch rapid.IntRange(0, 9).Draw(t, "time") {
			case 0:
				now = now.Add(-time.Duration(rapid.IntRange(0, 4000).Draw(t, "back")) * time.Second)
			case 1, 2:
				now = now.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "forth")) * time.Second)
			default:
				now = now.Add(10 * time.Second)
			}
			if d := o.differs(tab, now); d != "" {
				t.Fatalf("after the clock: %s", d)
			}
		}
		tab.close()
		if info, err := os.Stat(path); err != nil || info.Size() != s.size() {
			t.Fatalf("%v bytes, want %d, %v", info.Size(), s.size(), err)
		}
	})
}

// base is the number of a period.
const base = 99_999_900

// filled is a table with a value in each period for so many periods until now: the
// number of the period less base.
func filled(t *testing.T, s shape, now time.Time, periods int) *table {
	t.Helper()
	tab := newTable(filepath.Join(t.TempDir(), "table"), s)
	if damage, err := tab.load(now); damage != "" || err != nil {
		t.Fatal(damage, err)
	}
	t.Cleanup(tab.close)
	for i := periods - 1; i >= 0; i-- {
		at := now.Add(-time.Duration(i) * 10 * time.Second)
		if _, err := tab.write(at, inOrder(map[string]float64{"a": float64(at.Unix()/10 - base)})); err != nil {
			t.Fatal(err)
		}
	}
	return tab
}

func TestCurve(t *testing.T) {
	now := time.Unix(1_000_000_020, 0) // a whole minute
	tab := filled(t, small(3), now, 40)
	const last = 100_000_002 - base // period of now
	for name, tt := range map[string]struct {
		from, to time.Duration // before now
		most     int
		start    time.Duration
		period   time.Duration
		want     []float64
	}{
		"finest":       {50 * time.Second, 20 * time.Second, 100, 50 * time.Second, 10 * time.Second, []float64{last - 5, last - 4, last - 3, last - 2}},
		"two":          {50 * time.Second, 0, 1, 60 * time.Second, 40 * time.Second, []float64{last - 4.5, last - 1}},
		"minutes":      {2 * time.Minute, 0, 100, 2 * time.Minute, time.Minute, []float64{last - 9.5, last - 3.5, last}},
		"grouped":      {110 * time.Second, 0, 6, 120 * time.Second, 20 * time.Second, nil},
		"longest ago":  {time.Hour, 40 * time.Minute, 100, 0, 0, nil},
		"future alone": {-time.Minute, -time.Hour, 100, 0, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := tab.curve(now, []string{"a", "unknown"}, now.Add(-tt.from), now.Add(-tt.to), tt.most)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Values[0]) > max(tt.most, 2) || len(c.Values[0]) != len(c.Values[1]) {
				t.Errorf("%d and %d values", len(c.Values[0]), len(c.Values[1]))
			}
			for _, v := range c.Values[1] {
				if !math.IsNaN(v) {
					t.Errorf("a series that is not there has %v", v)
				}
			}
			if tt.want != nil && (!slices.EqualFunc(c.Values[0], tt.want, near) || c.Period != tt.period || !c.Start.Equal(now.Add(-tt.start))) {
				t.Errorf("%v each %v from %v before, want %v each %v from %v", c.Values[0], c.Period, now.Sub(c.Start), tt.want, tt.period, tt.start)
			}
			if c.Start.Location() != time.UTC || c.Period > 0 && c.Start.Unix()%int64(c.Period/time.Second) != 0 {
				t.Errorf("begins at %v, each %v", c.Start, c.Period)
			}
		})
	}
	// However many are wanted, all periods of the window are in the means.
	for most := 2; most < 20; most++ {
		c, err := tab.curve(now, []string{"a"}, now.Add(-100*time.Second), now, most)
		if err != nil || len(c.Values[0]) > most {
			t.Fatalf("most %d: %d values, %v", most, len(c.Values[0]), err)
		}
		begin, each := c.Start.Unix()/10-base, int64(c.Period/(10*time.Second))
		for i, v := range c.Values[0] {
			a := max(begin+int64(i)*each, last-11)
			b := min(begin+int64(i+1)*each-1, last)
			if want := float64(a+b) / 2; !near(v, want) || math.Abs(v-want) > 8 {
				t.Errorf("most %d, value %d: %v, want %v", most, i, v, want)
			}
		}
	}
	tab.close()
	if _, err := tab.curve(now, []string{"a"}, now, now, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// A gap is a gap, and zero is zero.
func TestGap(t *testing.T) {
	now := time.Unix(1_000_000_020, 0)
	tab := filled(t, small(3), now, 1)
	for _, step := range []struct {
		after time.Duration
		value float64
	}{{10 * time.Second, 0}, {40 * time.Second, 7}, {50 * time.Second, math.NaN()}, {60 * time.Second, math.Inf(1)}} {
		if _, err := tab.write(now.Add(step.after), inOrder(map[string]float64{"a": step.value})); err != nil {
			t.Fatal(err)
		}
	}
	c, err := tab.curve(now.Add(time.Minute), []string{"a"}, now.Add(10*time.Second), now.Add(time.Minute), 10)
	if err != nil {
		t.Fatal(err)
	}
	nan := math.NaN()
	if want := []float64{0, nan, nan, 7, nan, nan}; !slices.EqualFunc(c.Values[0], want, near) {
		t.Errorf("%v, want %v", c.Values[0], want)
	}
}

// What is no history is put aside, what is cut off goes on.
func TestDamage(t *testing.T) {
	now := time.Unix(1_000_000_020, 0)
	good := filled(t, small(3), now, 3).path
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		data  []byte
		says  string
		aside bool
		kept  bool // the values are still there
	}{
		"empty":         {nil, "", false, false},
		"text":          {[]byte("not a history"), "it is now", true, false},
		"another shape": {append(headerOf(4), data[headerSize:]...), "it is now", true, false},
		"a bit":         {append([]byte{data[0] ^ 1}, data[1:]...), "it is now", true, false},
		"cut off":       {data[:headerSize+nameSize], "cut off", false, false},
		"header alone":  {data[:headerSize], "", false, false},
		"longer":        {append(bytes.Clone(data), "more"...), "", false, true},
		"name":          {append(append(bytes.Clone(data[:headerSize+10]), 'x'), data[headerSize+11:]...), "", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pool")
			if err := os.WriteFile(path, tt.data, 0o600); err != nil {
				t.Fatal(err)
			}
			tab := newTable(path, small(3))
			damage, err := tab.load(now)
			if err != nil || !strings.Contains(damage, tt.says) || (tt.says == "") != (damage == "") {
				t.Fatalf("%q, %v", damage, err)
			}
			defer tab.close()
			_, err = os.Stat(path + ".damaged")
			if tt.aside == errors.Is(err, fs.ErrNotExist) {
				t.Errorf("put aside: %v", err)
			}
			read := func(at time.Time) float64 {
				c, err := tab.curve(at, []string{"a"}, at, at, 1)
				if err != nil || len(c.Values[0]) != 1 {
					t.Fatalf("%v, %v", c, err)
				}
				return c.Values[0][0]
			}
			if v := read(now); math.IsNaN(v) == tt.kept {
				t.Errorf("%v", v)
			}
			if _, err := tab.write(now.Add(10*time.Second), inOrder(map[string]float64{"a": 5})); err != nil {
				t.Fatal(err)
			}
			if v := read(now.Add(10 * time.Second)); v != 5 {
				t.Errorf("%v was written", v)
			}
		})
	}
}

// FuzzLoad reads any file: it ends, keeps to its bounds, and can be written to.
func FuzzLoad(f *testing.F) {
	now := time.Unix(1_000_000_020, 0)
	tab := newTable(filepath.Join(f.TempDir(), "seed"), small(3))
	if _, err := tab.load(now); err != nil {
		f.Fatal(err)
	}
	if _, err := tab.write(now, inOrder(map[string]float64{"a": 1, "b": 2})); err != nil {
		f.Fatal(err)
	}
	tab.close()
	data, err := os.ReadFile(tab.path)
	if err != nil {
		f.Fatal(err)
	}
	head := headerOf(3)
	f.Add([]byte{}, true)
	f.Add(data[headerSize:], true)
	f.Add(data[headerSize:headerSize+700], true)
	f.Add(data[:100], false)
	f.Add(bytes.Repeat([]byte{0xff}, 5000), true)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, in []byte, begun bool) {
		if begun {
			in = append(bytes.Clone(head), in...)
		}
		path := filepath.Join(dir, fmt.Sprint(rand.Uint64()))
		defer os.RemoveAll(path)
		defer os.Remove(path + ".damaged")
		if err := os.WriteFile(path, in, 0o600); err != nil {
			t.Fatal(err)
		}
		tab := newTable(path, small(3))
		if _, err := tab.load(now); err != nil {
			t.Fatal(err)
		}
		defer tab.close()
		for range 2 {
			if _, err := tab.write(now, inOrder(map[string]float64{"a": 3, "c": 4})); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"a", "b", "c"} {
				c, err := tab.curve(now, []string{name}, now.Add(-time.Hour), now, 1000)
				if err != nil || len(c.Values[0]) > 1000 {
					t.Fatalf("%d values, %v", len(c.Values[0]), err)
				}
			}
		}
		if info, err := os.Stat(path); err != nil || info.Size() != tab.size() {
			t.Fatalf("%v, %v", info, err)
		}
	})
}

// The files are as large as documented, and no larger on the disk before there is
// something in them.
func TestSize(t *testing.T) {
	for _, tt := range []struct {
		shape
		size int64
	}{{poolShape, 3_600_000}, {userShape, 38_000_000}, {workerShape, 112_000_000}} {
		if got := tt.shape.size(); got > tt.size || got < tt.size*9/10 {
			t.Errorf("%d slots: %d bytes, want about %d", tt.slots, got, tt.size)
		}
		for r := 1; r < len(tt.resolutions); r++ {
			ratio := int(tt.resolutions[r].Period / tt.resolutions[r-1].Period)
			if tt.resolutions[r-1].Periods%ratio != 0 || tt.resolutions[r-1].Periods < ratio {
				t.Errorf("%d periods of %v, %d of which are one of %v", tt.resolutions[r-1].Periods, tt.resolutions[r-1].Period, ratio, tt.resolutions[r].Period)
			}
		}
		tab := newTable(filepath.Join(t.TempDir(), "table"), tt.shape)
		if _, err := tab.load(time.Now()); err != nil {
			t.Fatal(err)
		}
		for i := range int64(3) {
			at := time.Unix(1e9, 0).Add(time.Duration(i) * tt.resolutions[0].Period)
			if _, err := tab.write(at, inOrder(map[string]float64{"a": 1})); err != nil {
				t.Fatal(err)
			}
		}
		tab.close()
		var st syscall.Stat_t
		if err := syscall.Stat(tab.path, &st); err != nil || st.Blocks*512 > 128<<10 {
			t.Errorf("%d bytes on disk, %v", st.Blocks*512, err)
		}
	}
}
