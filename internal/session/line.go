package session

import (
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/work"
)

// coinbaseLine is the mining.notify line of a job with one of its coinbases.
type coinbaseLine struct {
	coinbase *work.Coinbase
	line     *stratum.NotifyLine
}

// line is the line for miners with a limit.
func (w *Work) line(limit int) *stratum.NotifyLine {
	c := w.Job.Coinbase(limit)
	for {
		list := w.lines.Load()
		if list != nil {
			for i := range *list {
				if l := &(*list)[i]; l.coinbase == c {
					return l.line
				}
			}
		}
		w.addLine(list, c)
	}
}

// addLine renders the line with a coinbase, unless the list has changed.
func (w *Work) addLine(list *[]coinbaseLine, c *work.Coinbase) {
	var more []coinbaseLine
	if list != nil {
		more = append(more, *list...)
	}
	j, t := w.Job, w.Job.Template
	n := &stratum.Notify{
		PrevHash: t.PrevHash, Coinb1: c.Head, Coinb2: append(c.Mid[:len(c.Mid):len(c.Mid)], c.Tail...),
		Branch: j.Branch, Version: j.Version, Bits: t.Bits, NTime: t.CurTime,
	}
	more = append(more, coinbaseLine{c, stratum.NewNotifyLine(j.ID, n, len(c.Mid))})
	w.lines.CompareAndSwap(list, &more)
}

// shared is the line that all miners with a limit get, nil in solo.
func (w *Work) shared(limit int, clean bool) []byte {
	if w.Job.Solo {
		return nil
	}
	return w.line(limit).Line(clean)
}

// announcement is how a job is sent to one miner.
type announcement struct {
	// suffix is that of the job's id, and the variant of the job. What a miner
	// finds tells which announcement it worked on.
	suffix uint8
	// later is added to the job's time, in seconds. A job sent again needs
	// another time as well: miners that begin anew with every job would find the
	// same shares again.
	later uint32
	clean bool
}

// appendLine appends the line for one miner and allocates nothing but room in b.
// In solo nothing is appended without a payout script, since the reward would be
// anybody's.
func (w *Work) appendLine(b []byte, m *work.Miner, a announcement) []byte {
	j := w.Job
	if j.Solo && len(m.Payout) == 0 {
		return b
	}
	to := stratum.Recipient{Suffix: a.suffix, Clean: a.clean}
	var end [work.MaxPad]byte
	var payee [160]byte
	if a.suffix > 0 {
		to.Coinb1 = j.AppendHeadEnd(end[:0], m, a.suffix)
	}
	to.Payee = j.AppendPayee(payee[:0], m)
	if a.later > 0 {
		to.NTime = j.Template.CurTime + a.later
	}
	return w.line(m.Limit).Append(b, &to)
}
