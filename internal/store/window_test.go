package store

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store/table"
)

// A window of many heights and accounts is read from sums, and from single shares at its
// edge alone. CKDB_WINDOW is its number of heights: of 1,000 accounts each, with 400
// shares of each of these, 500 heights are 200 million shares.
func TestWindow(t *testing.T) {
	heights, _ := strconv.ParseInt(os.Getenv("CKDB_WINDOW"), 10, 64)
	heights = max(heights, 20)
	each(t, func(t *testing.T, where string) {
		const accounts, each, value = 1000, 400, 312_500_000
		n := newNetwork(t, where)
		p := n.pool(1)
		// All but half of the lowest height, and the block's share of 1.
		network := float64((heights-1)*accounts*each+accounts*each/2+1) / 5
		p.jobAt(101, network)
		b := Batch{Agents: []string{"x"}}
		for i := range accounts {
			b.Workers = append(b.Workers, Worker{User, fmt.Sprintf("user%03d", i), "rig"})
			v := share(int64(i+1), each)
			v.NTime, v.Job, v.Worker = p.ntime, p.job.ID, int32(i)
			b.Shares = append(b.Shares, v)
		}
		b.Instance, b.From, p.at = p.in.ID, p.at, Position{Epoch: 1, Number: p.at.Number + accounts}
		for i := range b.Shares {
			b.Shares[i].Number = b.From.Number + 1 + int64(i)
		}
		b.To, b.At = p.at, p.now
		apply(t, n.s, &b)
		var jobs []int64
		for h := range heights - 1 {
			p.jobAt(102+h, network)
			jobs = append(jobs, int64(p.job.ID))
		}
		if err := n.s.db.Write(t.Context(), func(tx table.Tx) error {
			var workers []int64
			if err := rows(t.Context(), tx, "select id from workers order by id", nil, func(scan func(...any) error) error {
				var id int64
				err := scan(&id)
				workers = append(workers, id)
				return err
			}); err != nil {
				return err
			}
			same := func(v int64) []int64 { return slices.Repeat([]int64{v}, len(workers)) }
			sums := slices.Repeat([]*Sum{{Accepted: Class{each, difficulty.ExactOf(each)}}}, len(workers))
			for _, job := range jobs {
				rows := table.Rows{same(1), same(job), same(hourOf(started)), workers, same(1), same(0)}
				if _, err := tx.Merge(t.Context(), jobSums, jobSums.Name, len(workers), append(rows, sumRows(sums)...)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		p.jobAt(101+heights, network)
		hash := p.find("user999", 1, true, out(value, poolScript))
		p.over()
		n.follow()

		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begun := time.Now()
		r, err := n.s.Reward(t.Context(), hash, nil)
		if err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		t.Logf("%d million shares at %d heights: %v, %d MB more from the system", heights*accounts*each/1_000_000, heights, time.Since(begun), int64(after.Sys-before.Sys)>>20)
		if w := r.Window; !w.Full || w.Heights != heights+1 || w.Cut == nil || w.Cut.Height != 101 || w.Cut.Shares != accounts/2 || w.Cut.Account.Name != "user500" {
			t.Errorf("%+v, cut %+v", w, w.Cut)
		}
		total := r.Fee
		for _, c := range r.Credits {
			total += c.Amount
		}
		if total != value || len(r.Credits) != accounts {
			t.Errorf("%d satoshis for %d accounts", total, len(r.Credits))
		}
	})
}
