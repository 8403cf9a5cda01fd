package session

import (
	"encoding/hex"
	"slices"
	"strconv"

	"ckpool/internal/netserver"
	"ckpool/stratum"
	"ckpool/work"
)

// listPause is the least time between two transaction lists for one
// connection, in seconds.
const listPause = 30

var (
	rejectJobID     = stratum.Reject{Code: stratum.JobNotFound, Text: "Invalid job_id"}
	rejectRateLimit = stratum.Reject{Code: stratum.Other, Text: "Ratelimit"}
)

// onGetTransactions answers with the number of transactions of a job.
func (h *Handler) onGetTransactions(slot netserver.Slot, s *session, arg []byte) *stratum.Reject {
	job, r := h.jobParam(arg)
	switch {
	case r != nil:
		return r
	case job == nil:
		h.reject(slot, h.msg.ID, &rejectJobID)
	default:
		h.write(slot, stratum.AppendResult(h.out[:0], h.msg.ID, strconv.Itoa(job.Template.TxCount())))
	}
	return nil
}

// onGetTxnHashes answers with the transaction ids of a job in display order,
// each followed by a space.
func (h *Handler) onGetTxnHashes(slot netserver.Slot, s *session, arg []byte) *stratum.Reject {
	now := h.seconds()
	if s.lastList != 0 && now-s.lastList < listPause {
		h.reject(slot, h.msg.ID, &rejectRateLimit)
		return nil
	}
	job, r := h.jobParam(arg)
	if r != nil {
		return r
	}
	if job == nil {
		h.reject(slot, h.msg.ID, &rejectJobID)
		return nil
	}
	s.lastList = now
	count := job.Template.TxCount()
	b := make([]byte, 0, 2+65*count)
	b = append(b, '"')
	for i := range count {
		id := job.Template.TxID(i)
		slices.Reverse(id[:])
		b = hex.AppendEncode(b, id[:])
		b = append(b, ' ')
	}
	h.write(slot, stratum.AppendResult(nil, h.msg.ID, string(append(b, '"'))))
	return nil
}

// jobParam is the job whose id is the first parameter; nil when unknown.
func (h *Handler) jobParam(arg []byte) (*work.Job, *stratum.Reject) {
	text, ok := h.firstParam(arg)
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
	return h.b.Find(id).Job, nil
}
