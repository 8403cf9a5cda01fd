package bitcoind

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// RPCError is a node's error answer.
type RPCError struct {
	Code    int    // as JSON-RPC has it, 0 where the node refused at HTTP level
	Message string // the node's words
	Status  int    // HTTP status; btcd and JSON-RPC 2.0 answer errors with 200
}

// Error is the code, of JSON-RPC or HTTP, and what the node said.
func (e *RPCError) Error() string {
	if e.Code == 0 && e.Status != http.StatusOK {
		return fmt.Sprintf("HTTP %d: %s", e.Status, e.Message)
	}
	return fmt.Sprintf("error %d: %s", e.Code, e.Message)
}

// replyError is an answer that is none.
type replyError struct{ text string }

func (e *replyError) Error() string { return e.text }

// decode reads a JSON-RPC reply of either style: errors come with HTTP status
// 4xx or 5xx and a body, or with status 200 and an error member.
func (a answer) decode(id uint64, result any) error {
	var reply struct {
		Result json.RawMessage `json:"result"`
		Error  json.RawMessage `json:"error"`
		ID     json.RawMessage `json:"id"`
	}
	if err := json.Unmarshal(a.body, &reply); err != nil {
		if a.status != http.StatusOK {
			return &RPCError{Message: firstLine(a.body, http.StatusText(a.status)), Status: a.status}
		}
		return &replyError{"the answer is not JSON: is this the RPC port of a bitcoin node?"}
	}
	if len(reply.Error) > 0 && string(reply.Error) != "null" {
		e := RPCError{Status: a.status}
		if json.Unmarshal(reply.Error, &e) != nil || e.Code == 0 && e.Message == "" {
			e.Message = firstLine(reply.Error, "")
		}
		// A request the node could not read is answered without an id.
		if string(reply.ID) != "null" && !sameID(string(reply.ID), id) {
			return wrongID(reply.ID, id)
		}
		return &e
	}
	if a.status != http.StatusOK {
		return &RPCError{Message: http.StatusText(a.status), Status: a.status}
	}
	if !sameID(string(reply.ID), id) {
		return wrongID(reply.ID, id)
	}
	if reply.Result == nil {
		return &replyError{"the answer has neither result nor error: is this the RPC port of a bitcoin node?"}
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(reply.Result, result); err != nil {
		return &replyError{"unexpected result: " + err.Error()}
	}
	return nil
}

func sameID(raw string, id uint64) bool {
	return strings.Trim(raw, `"`) == strconv.FormatUint(id, 10)
}

func wrongID(raw []byte, id uint64) error {
	return &replyError{fmt.Sprintf("the answer has id %s, not %d: it belongs to another request", firstLine(raw, "(none)"), id)}
}

// maxText is how much is told of a text that a node has chosen, in bytes.
const maxText = 500

// brief cuts a text of a node that is too long for people.
func brief(text string) string {
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

// firstLine is a short printable form of a body.
func firstLine(body []byte, otherwise string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	if len(line) > 200 {
		line = line[:200] + "…"
	}
	line = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, line))
	if line == "" {
		return otherwise
	}
	return line
}
