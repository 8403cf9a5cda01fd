package session

import (
	"strconv"

	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/work"
)

// listPause is the least time between two transaction lists for one
// connection, in seconds.
const listPause = 30

var (
	rejectJobID     = stratum.Reject{Code: stratum.JobNotFound, Text: "Invalid job_id"}
	rejectUnknown   = stratum.Reject{Code: stratum.Other, Text: "Transactions not known"}
	rejectRateLimit = stratum.Reject{Code: stratum.Other, Text: "Ratelimit"}
)

// onGetTransactions answers with the number of transactions of a job.
func (q request) onGetTransactions(arg []byte) *stratum.Reject {
	job, r := q.jobParam(arg)
	switch {
	case r != nil:
		return r
	case job == nil:
		q.reject(q.msg.ID, &rejectJobID)
	case !job.Template.HasTransactions():
		q.reject(q.msg.ID, &rejectUnknown)
	default:
		q.write(stratum.AppendResult(q.out[:0], q.msg.ID, strconv.Itoa(job.Template.TxCount())))
	}
	return nil
}

// onGetTxnHashes answers with the transaction ids of a job in display order,
// each followed by a space.
func (q request) onGetTxnHashes(arg []byte) *stratum.Reject {
	if !q.s.is(authorised) { // a list may have 650 KB
		q.reject(q.msg.ID, Unauthorized.Reject())
		return nil
	}
	now := q.seconds()
	if q.s.lastList != 0 && q.s.lastList.since(now) < listPause {
		q.reject(q.msg.ID, &rejectRateLimit)
		return nil
	}
	job, r := q.jobParam(arg)
	if r != nil {
		return r
	}
	if job == nil {
		q.reject(q.msg.ID, &rejectJobID)
		return nil
	}
	if !job.Template.HasTransactions() {
		q.reject(q.msg.ID, &rejectUnknown)
		return nil
	}
	q.s.lastList = moment(now)
	count := job.Template.TxCount()
	b := make([]byte, 0, 2+65*count)
	b = append(b, '"')
	for i := range count {
		b = work.AppendHash(b, job.Template.TxID(i))
		b = append(b, ' ')
	}
	q.write(stratum.AppendResult(nil, q.msg.ID, string(append(b, '"'))))
	return nil
}

// jobParam is the job whose id is the first parameter; nil when unknown.
func (q request) jobParam(arg []byte) (*work.Job, *stratum.Reject) {
	text, ok := stratum.Argument(q.msg.Params, arg)
	if !ok {
		return nil, &rejectParams
	}
	if len(text) > 16 {
		text = text[:16]
	}
	id, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return nil, nil
	}
	if w := q.b.Jobs.Find(id); w != nil {
		return w.Job, nil
	}
	return nil, nil
}
