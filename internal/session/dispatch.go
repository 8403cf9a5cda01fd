package session

import (
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/stratum"
)

// Verdicts on messages other than submit, which has a list of its own: see
// Reason. Texts are those miners and their dashboards know.
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
	rejectUserAgent     = stratum.Reject{Code: stratum.Other, Text: "Only allowed user agents may subscribe"}
	rejectNoPlace       = stratum.Reject{Code: stratum.Other, Text: "No pool upstream has room for another miner"}
	rejectFull          = stratum.Reject{Code: stratum.Other, Text: "Pool full of clients"}
)

// maxBadLines is how many unusable lines in a row close a connection.
const maxBadLines = 10

// dispatch handles one line.
func (q request) dispatch(line []byte) {
	m := &q.msg
	q.line = line
	switch stratum.Scan(line, m) {
	case stratum.Empty:
		return
	case stratum.Invalid:
		q.reject(nil, &rejectInvalidJSON)
		q.t.Close(q.slot, netserver.BadInput)
		return
	case stratum.Array, stratum.Scalar:
		q.bad(nil, &rejectNotObject)
		return
	}
	if m.Method == nil {
		switch {
		case m.MethodPresent:
			q.bad(m.ID, &rejectMethodType)
		case m.Result == nil:
			q.bad(m.ID, &rejectNoMethod)
		}
		return
	}
	method, arg := stratum.SplitMethod(m.Method)
	bad := q.call(method, arg)
	if bad != nil {
		q.bad(m.ID, bad)
	} else {
		q.s.badLines = 0
	}
}

// bad answers an unusable line, and the tenth in a row with a close.
func (q request) bad(id []byte, r *stratum.Reject) {
	q.reject(id, r)
	if q.s.badLines++; q.s.badLines >= maxBadLines {
		q.reject(nil, &rejectTooManyBad)
		q.t.Close(q.slot, netserver.BadInput)
	}
}

// call runs a method; a non-nil result means the line itself was unusable and
// has not been answered.
func (q request) call(method, arg []byte) *stratum.Reject {
	m := &q.msg
	q.answering = append(q.answering[:0], method...)
	if m.Params == nil && arg == nil && needsParams(method) {
		return &rejectNoParams
	}
	switch string(method) {
	case "mining.submit":
		return q.onSubmit()
	case "mining.subscribe":
		return q.onSubscribe()
	case "mining.authorize", "mining.authorise", "mining.auth", "login":
		return q.onAuthorize()
	case "mining.configure":
		return q.onConfigure()
	case "mining.suggest_difficulty", "mining.suggest_target":
		return q.onSuggest(method, arg)
	case "mining.extranonce.subscribe":
		q.takeExtranonce()
		q.accept(m.ID)
	case "mining.get_transactions":
		return q.onGetTransactions(arg)
	case "mining.get_txnhashes":
		return q.onGetTxnHashes(arg)
	case "mining.ping":
		q.write(stratum.AppendResult(q.out[:0], m.ID, `"pong"`))
	case "pong", "mining.pong":
	case "mining.passthrough", "mining.node", "mining.remote":
		q.onLink(method)
	default:
		return &rejectUnknownMethod
	}
	return nil
}

// onLink makes a link of a client that has said nothing else, or closes it.
func (q request) onLink(method []byte) {
	refusal := "it is not the first line"
	switch {
	case q.Link == nil:
		refusal = "links between pools are not accepted here"
	case q.s.id == 0 && q.s.login == 0 && !q.s.is(configured) && q.undecided.bySlot[q.slot] == nil:
		refusal = q.Link(q.slot, int(q.s.listener), method, q.msg.Params)
	}
	if refusal == "" {
		delete(q.byID, q.s.client)
		*q.s = session{}
		return
	}
	q.g.Log.link(q.client, method, refusal)
	q.reject(q.msg.ID, &stratum.Reject{Code: stratum.Other, Text: poolproto.NoLink + refusal})
	q.t.Close(q.slot, netserver.BadInput)
}

// needsParams tells that a method is nothing without params.
func needsParams(method []byte) bool {
	switch string(method) {
	case "mining.submit", "mining.subscribe", "mining.authorize", "mining.authorise", "mining.auth", "login",
		"mining.configure", "mining.suggest_difficulty", "mining.suggest_target",
		"mining.get_transactions", "mining.get_txnhashes":
		return true
	}
	return false
}
