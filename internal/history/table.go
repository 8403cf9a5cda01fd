package history

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ckpool/ckpool/sharelog"
)

// file is what a table needs of an [os.File].
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
	Sync() error
}

func openFile(path string) (file, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
}

// table is a file of series. One goroutine opens, writes and closes it; any may read.
type table struct {
	// immutable
	path string
	shape
	open func(path string) (file, error)
	at   []int64 // of the first column of each resolution, in the file

	mu sync.RWMutex
	// guarded by mu, for the goroutine that writes when it changes them
	file   file           // nil: it is not open
	index  map[string]int // slots by key
	series []series       // by slot, those ever used
	tags   [][]uint32     // the numbers that columns have, by resolution

	// owned by the goroutine that writes
	saved  []int64 // used of each series, as it is in the file
	column []byte  // to write
	sums   []float64
	counts []int32
}

func newTable(path string, s shape) *table {
	t := &table{path: path, shape: s, open: openFile}
	at := s.begin()
	for _, r := range s.resolutions {
		t.at = append(t.at, at)
		at += int64(r.Periods) * s.column()
	}
	return t
}

// period is the number of the period that a time is in.
func (t *table) period(r int, now time.Time) int64 {
	return max(now.Unix(), 0) / t.seconds(r)
}

func (t *table) seconds(r int) int64 { return int64(t.resolutions[r].Period / time.Second) }

// offset is where the column of a period is in the file.
func (t *table) offset(r int, period int64) int64 {
	return t.at[r] + period%int64(t.resolutions[r].Periods)*t.shape.column()
}

// has tells whether there are values of a period. The caller holds mu.
func (t *table) has(r int, period int64) bool {
	return int64(t.tags[r][period%int64(t.resolutions[r].Periods)]) == period && period > 0
}

// of tells whether the value of a period is of the series that has the slot now.
func (t *table) of(slot, r int, period int64) bool {
	return (period+1)*t.seconds(r) > t.series[slot].since
}

// load opens the file, or makes it. What is told of damage is "" if there is none; the
// error is that there is no table.
func (t *table) load(now time.Time) (damage string, err error) {
	f, err := t.open(t.path)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	size := info.Size()
	if size > 0 {
		b := make([]byte, headerSize)
		if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		if !t.sameHeader(b) {
			f.Close()
			damage = sharelog.PutAside(t.path, fmt.Errorf("%s is no history that this version can read", t.path))
			if f, err = t.open(t.path); err != nil {
				return damage, err
			}
			size = 0
		}
	}
	switch {
	case size == 0:
		if _, err := f.WriteAt(t.header(), 0); err != nil {
			return damage, err
		}
	case size < t.size() && size > headerSize:
		damage = fmt.Sprintf("%s is cut off after %d bytes: what was behind them is lost", t.path, size)
	}
	if size != t.size() {
		if err := f.Truncate(t.size()); err != nil {
			return damage, err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.read(f); err != nil {
		return damage, err
	}
	t.file = f
	if err := t.recover(now); err != nil {
		t.file = nil
		return damage, err
	}
	return damage, nil
}

// read reads names and numbers of columns. The caller holds mu.
func (t *table) read(f file) error {
	b := make([]byte, t.slots*nameSize)
	if _, err := f.ReadAt(b, headerSize); err != nil {
		return err
	}
	t.index, t.series, t.saved = map[string]int{}, nil, nil
	for slot := range t.slots {
		s, ok := parseSeries(b[slot*nameSize:][:nameSize])
		if _, twice := t.index[s.name]; !ok || twice {
			continue
		}
		t.grow(slot + 1)
		t.saved[slot] = s.used
		s.used += saveEvery // it may have had values until then
		t.series[slot] = s
		t.index[s.name] = slot
	}
	t.tags = make([][]uint32, len(t.resolutions))
	for r, k := range t.resolutions {
		t.tags[r] = make([]uint32, k.Periods)
		err := t.columns(f, r, 0, int64(k.Periods), -1, func(i int64, b []byte) {
			if tag := binary.LittleEndian.Uint32(b); int64(tag)%int64(k.Periods) == i {
				t.tags[r][i] = tag
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// grow makes room for slots below n.
func (t *table) grow(n int) {
	for len(t.series) < n {
		t.series = append(t.series, series{})
		t.saved = append(t.saved, 0)
	}
}

// block is how much is read at once where columns are small, in bytes.
const block = 64 << 10

// columns gives what a slot has in each of n columns from the first on, which is a
// place, not a period; slot -1 is the number of the period. do must not keep b.
func (t *table) columns(f io.ReaderAt, r int, first, n int64, slot int, do func(i int64, b []byte)) error {
	size := t.shape.column()
	most := max(1, block/size)
	buf := make([]byte, (min(most, n)-1)*size+valueSize)
	for i := int64(0); i < n; {
		k := min(most, n-i)
		b := buf[:(k-1)*size+valueSize]
		if _, err := f.ReadAt(b, t.at[r]+(first+i)*size+int64(1+slot)*valueSize); err != nil {
			return err
		}
		for j := range k {
			do(i+j, b[j*size:][:valueSize])
		}
		i += k
	}
	return nil
}

// recover makes the longer periods of the newest one anew: it may have been written
// without them. The caller holds mu.
func (t *table) recover(now time.Time) error {
	newest, last := int64(0), t.period(0, now)
	for _, tag := range t.tags[0] {
		if k := int64(tag); k > newest && k <= last {
			newest = k
		}
	}
	if newest == 0 {
		return nil
	}
	return t.means(newest)
}

// close ends the use of the file.
func (t *table) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file != nil {
		t.file.Close()
		t.file = nil
	}
}

// written tells whether the shortest period of now has been written.
func (t *table) written(now time.Time) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.file != nil && t.has(0, t.period(0, now))
}

// write writes the values of the period of now, and the means of the longer ones that
// it is in. The values of each series come once. Those for whom there is no room are
// counted.
func (t *table) write(now time.Time, values iter.Seq2[string, float64]) (noRoom int, err error) {
	period := t.period(0, now)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.column = append(t.column[:0], make([]byte, (1+len(t.series))*valueSize)...)
	given := allocation{table: t, now: period * t.seconds(0)}
	for name, v := range values {
		if math.IsNaN(v) || name == "" {
			continue
		}
		slot, err := given.slot(key(name))
		if err != nil {
			return noRoom, err
		}
		if slot < 0 {
			noRoom++
			continue
		}
		if need := (2 + slot) * valueSize; need > len(t.column) {
			t.column = append(t.column, make([]byte, need-len(t.column))...)
		}
		putValue(t.column[(1+slot)*valueSize:], v)
	}
	if err := t.put(0, period); err != nil {
		return noRoom, err
	}
	return noRoom, t.means(period)
}

// put writes column as that of a period. The caller holds mu.
func (t *table) put(r int, period int64) error {
	binary.LittleEndian.PutUint32(t.column, uint32(period))
	at, begin := t.offset(r, period), 0
	if t.shape.column() > sector && !t.has(r, period) {
		// The number says that the values are there: it follows them.
		if err := t.number(r, period, 0); err != nil {
			return err
		}
		begin = valueSize
	}
	if _, err := t.file.WriteAt(t.column[begin:], at+int64(begin)); err != nil {
		return err
	}
	if begin > 0 {
		t.mu.Unlock() // who reads does not wait for the disk
		err := t.file.Sync()
		t.mu.Lock()
		if err != nil {
			return err
		}
		return t.number(r, period, uint32(period))
	}
	t.tags[r][period%int64(t.resolutions[r].Periods)] = uint32(period)
	return nil
}

// number changes the number that the column of a period has. The caller holds mu.
func (t *table) number(r int, period int64, tag uint32) error {
	k := &t.tags[r][period%int64(t.resolutions[r].Periods)]
	if *k == tag {
		return nil
	}
	if _, err := t.file.WriteAt(binary.LittleEndian.AppendUint32(nil, tag), t.offset(r, period)); err != nil {
		return err
	}
	*k = tag
	return nil
}

// means writes the longer periods that a shortest one is in. The caller holds mu.
func (t *table) means(period int64) error {
	for r := 1; r < len(t.resolutions); r++ {
		ratio := t.seconds(r) / t.seconds(r-1)
		period /= ratio
		if err := t.mean(r, period, ratio); err != nil {
			return err
		}
	}
	return nil
}

// mean writes the means of ratio shorter periods. The caller holds mu.
func (t *table) mean(r int, period, ratio int64) error {
	n := len(t.series)
	t.sums, t.counts = slices.Grow(t.sums[:0], n)[:n], slices.Grow(t.counts[:0], n)[:n]
	clear(t.sums)
	clear(t.counts)
	t.column = slices.Grow(t.column[:0], (1+n)*valueSize)[:(1+n)*valueSize]
	for k := period * ratio; k < (period+1)*ratio; k++ {
		if !t.has(r-1, k) {
			continue
		}
		if _, err := t.file.ReadAt(t.column, t.offset(r-1, k)); err != nil {
			return err
		}
		for slot := range n {
			if v := getValue(t.column[(1+slot)*valueSize:]); !math.IsNaN(v) && t.of(slot, r-1, k) {
				t.sums[slot] += v
				t.counts[slot]++
			}
		}
	}
	for slot := range n {
		putValue(t.column[(1+slot)*valueSize:], t.sums[slot]/float64(t.counts[slot])) // 0/0: none
	}
	return t.put(r, period)
}

// allocation gives series their slots for one period.
type allocation struct {
	*table
	now    int64 // beginning of the period, unix seconds
	sorted bool
	free   []int // slots that may be given to another series, the first one first
}

// keepUsed is after which time without a value a series gives way, and how exact the
// file has that, in periods of the shortest kind and in seconds.
const (
	keepUsed  = 12
	saveEvery = 6 * 3600
)

// slot is that of a series, which gets one if it has none; -1: there is none free. The
// caller holds mu.
func (a *allocation) slot(key string) (int, error) {
	slot, known := a.index[key]
	var s series
	switch {
	case known:
		s = a.series[slot]
		s.used = a.now
		if s.since <= a.now && a.saved[slot] <= a.now && a.now-a.saved[slot] < saveEvery {
			a.series[slot] = s
			return slot, nil
		}
		if s.since > a.now { // the clock was set back
			if err := a.erase(slot, a.now, s.since); err != nil {
				return -1, err
			}
			s.since = a.now
		}
	default:
		if slot = len(a.series); slot == a.slots {
			slot = a.give()
		}
		if slot < 0 {
			return -1, nil
		}
		if err := a.clear(slot); err != nil {
			return -1, err
		}
		s = series{name: key, since: a.now, used: a.now}
	}
	if _, err := a.file.WriteAt(s.bytes(), headerSize+int64(slot)*nameSize); err != nil {
		return -1, err
	}
	a.grow(slot + 1)
	a.index[key], a.series[slot], a.saved[slot] = slot, s, s.used
	return slot, nil
}

// clear makes a slot nobody's. Nothing in it is of whom it is given to. The caller holds
// mu.
func (a *allocation) clear(slot int) error {
	if slot < len(a.series) {
		if _, err := a.file.WriteAt(make([]byte, nameSize), headerSize+int64(slot)*nameSize); err != nil {
			return err
		}
		delete(a.index, a.series[slot].name)
		a.series[slot] = series{}
	}
	return a.erase(slot, a.now, math.MaxInt64)
}

// erase takes values of a slot out of the periods that end after one time and not after
// another. The caller holds mu.
func (a *allocation) erase(slot int, after, until int64) error {
	var none [valueSize]byte
	for r, tags := range a.tags {
		for i, tag := range tags {
			if end := (int64(tag) + 1) * a.seconds(r); tag == 0 || end <= after || end > until {
				continue
			}
			if _, err := a.file.WriteAt(none[:], a.at[r]+int64(i)*a.shape.column()+int64(1+slot)*valueSize); err != nil {
				return err
			}
		}
	}
	return nil
}

// give is a slot whose series had no value for a while, the one that had none for
// longest; -1: there is none. The caller holds mu.
func (a *allocation) give() int {
	may := func(slot int) bool { // it is in use again since it was listed
		return a.series[slot].name == "" || a.now-a.series[slot].used > keepUsed*a.seconds(0)
	}
	if !a.sorted {
		a.sorted = true
		for slot := range a.series {
			s := &a.series[slot]
			s.used = min(s.used, a.now) // by a clock that was set back
			if may(slot) {
				a.free = append(a.free, slot)
			}
		}
		slices.SortStableFunc(a.free, func(x, y int) int { return cmp.Compare(a.series[x].used, a.series[y].used) })
	}
	for len(a.free) > 0 {
		slot := a.free[0]
		if a.free = a.free[1:]; may(slot) {
			return slot
		}
	}
	return -1
}

func (t *table) isOpen() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.file != nil
}
