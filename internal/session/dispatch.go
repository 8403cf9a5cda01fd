package session

import (
	"ckpool/internal/netserver"
	"ckpool/stratum"
)

// Verdicts on messages. Texts are those miners and their dashboards know.
var (
	rejectTooLong       = stratum.Reject{Code: stratum.Other, Text: "Line too long, disconnecting"}
	rejectInvalidJSON   = stratum.Reject{Code: stratum.Other, Text: "Invalid JSON, disconnecting"}
	rejectTooManyBad    = stratum.Reject{Code: stratum.Other, Text: "Too many bad messages, disconnecting"}
	rejectNotObject     = stratum.Reject{Code: stratum.Other, Text: "Not a JSON object"}
	rejectNoMethod      = stratum.Reject{Code: stratum.Other, Text: "Method not found"}
	rejectMethodType    = stratum.Reject{Code: stratum.Other, Text: "Method is not string"}
	rejectUnknownMethod = stratum.Reject{Code: stratum.Other, Text: "Unknown method"}
	rejectNoParams      = stratum.Reject{Code: stratum.Other, Text: "Params not found"}
	rejectParamsArray   = stratum.Reject{Code: stratum.Other, Text: "Params not array"}
	rejectParams        = stratum.Reject{Code: stratum.Other, Text: "Invalid params"}
	rejectNotAuthorised = stratum.Reject{Code: stratum.Unauthorized, Text: "Unauthorized worker"}
	rejectNotSubscribed = stratum.Reject{Code: stratum.NotSubscribed, Text: "Not subscribed"}
	rejectJob           = stratum.Reject{Code: stratum.JobNotFound, Text: "Invalid JobID"}
	rejectStale         = stratum.Reject{Code: stratum.JobNotFound, Text: "Stale"}
	rejectDuplicate     = stratum.Reject{Code: stratum.Duplicate, Text: "Duplicate"}
	rejectAboveTarget   = stratum.Reject{Code: stratum.LowDifficulty, Text: "Above target"}
	rejectNTime         = stratum.Reject{Code: stratum.Other, Text: "Ntime out of range"}
	rejectMask          = stratum.Reject{Code: stratum.Other, Text: "Invalid version mask"}
	rejectWorker        = stratum.Reject{Code: stratum.Unauthorized, Text: "Worker mismatch"}
	rejectUserAgent     = stratum.Reject{Code: stratum.Other, Text: "Only allowed user agents may subscribe"}
	rejectFull          = stratum.Reject{Code: stratum.Other, Text: "Pool full of clients"}
	rejectLinks         = stratum.Reject{Code: stratum.Other, Text: "Links between pools are not accepted here"}
)

// maxBadLines is how many unusable lines in a row close a connection.
const maxBadLines = 10

// dispatch handles one line.
func (h *Handler) dispatch(slot netserver.Slot, s *session, line []byte) {
	m := &h.msg
	switch stratum.Scan(line, m) {
	case stratum.Empty:
		return
	case stratum.Invalid:
		h.reject(slot, nil, &rejectInvalidJSON)
		h.t.Close(slot, netserver.BadInput)
		return
	case stratum.Array, stratum.Scalar:
		h.bad(slot, s, nil, &rejectNotObject)
		return
	}
	if m.Method == nil {
		switch {
		case m.MethodPresent:
			h.bad(slot, s, m.ID, &rejectMethodType)
		case m.Result == nil:
			h.bad(slot, s, m.ID, &rejectNoMethod)
		}
		return
	}
	method, arg := stratum.SplitMethod(m.Method)
	bad := h.call(slot, s, method, arg)
	if bad != nil {
		h.bad(slot, s, m.ID, bad)
	} else {
		s.badLines = 0
	}
}

// bad answers an unusable line, and the tenth in a row with a close.
func (h *Handler) bad(slot netserver.Slot, s *session, id []byte, r *stratum.Reject) {
	h.reject(slot, id, r)
	if s.badLines++; s.badLines >= maxBadLines {
		h.reject(slot, nil, &rejectTooManyBad)
		h.t.Close(slot, netserver.BadInput)
	}
}

// call runs a method; a non-nil result means the line itself was unusable and
// has not been answered.
func (h *Handler) call(slot netserver.Slot, s *session, method, arg []byte) *stratum.Reject {
	m := &h.msg
	if m.Params == nil && arg == nil {
		switch string(method) {
		case "mining.ping", "mining.pong", "pong", "mining.extranonce.subscribe":
		default:
			if known(method) {
				return &rejectNoParams
			}
		}
	}
	switch string(method) {
	case "mining.submit":
		return h.onSubmit(slot, s)
	case "mining.subscribe":
		return h.onSubscribe(slot, s)
	case "mining.authorize", "mining.authorise", "mining.auth", "login":
		return h.onAuthorize(slot, s)
	case "mining.configure":
		return h.onConfigure(slot, s)
	case "mining.suggest_difficulty":
		return h.onSuggest(slot, s, arg, parseDifficulty)
	case "mining.suggest_target":
		return h.onSuggest(slot, s, arg, parseTarget)
	case "mining.extranonce.subscribe":
		h.accept(slot, m.ID)
	case "mining.get_transactions":
		return h.onGetTransactions(slot, s, arg)
	case "mining.get_txnhashes":
		return h.onGetTxnHashes(slot, s, arg)
	case "mining.ping":
		h.write(slot, stratum.AppendResult(h.out[:0], m.ID, `"pong"`))
	case "pong", "mining.pong":
	case "mining.passthrough", "mining.node", "mining.remote":
		return &rejectLinks
	default:
		return &rejectUnknownMethod
	}
	return nil
}

func known(method []byte) bool {
	switch string(method) {
	case "mining.submit", "mining.subscribe", "mining.authorize", "mining.authorise", "mining.auth", "login",
		"mining.configure", "mining.suggest_difficulty", "mining.suggest_target",
		"mining.get_transactions", "mining.get_txnhashes":
		return true
	}
	return false
}
