// Package poolproto is what pools say to each other over a link: one connection between
// two pools, on which the miners of one are served by the other (passthrough, node), or
// shares and blocks are reported (trusted remote). It reads and writes lines; it knows no
// connection, no session and no work.
//
// A link begins with a [Hello] and its [Answer]. Behind them stand lines of one of two
// dialects. That of ckpool in C is JSON: a miner's own lines with its channel and address
// added ([Wrapped]), and the pool's with a tag and the channel ([Tagged]). Between two
// pools that both say so it is the short one of [Frame], where work that is the same for
// many miners travels once.
//
// A miner behind a link is a channel: a number that the side of the miner gives, from 0
// to 2^32-1, and gives again only when nobody can mean the former one any more.
package poolproto

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/ckpool/ckpool/internal/jsontext"
	"github.com/ckpool/ckpool/stratum"
)

// Role is what a link is for.
type Role uint8

const (
	Passthrough Role = iota + 1 // miners of the other side are served
	Node                        // and work and blocks go there
	Remote                      // shares and blocks of a pool are reported
)

var methods = map[Role]string{Passthrough: "mining.passthrough", Node: "mining.node", Remote: "mining.remote"}

// Method is the stratum method that asks for a link.
func (r Role) Method() string { return methods[r] }

// String is the role in words.
func (r Role) String() string { return strings.TrimPrefix(r.Method(), "mining.") }

// RoleOf is the role that a method asks for, 0 for any other method.
func RoleOf(method []byte) Role {
	switch string(method) {
	case "mining.passthrough":
		return Passthrough
	case "mining.node":
		return Node
	case "mining.remote":
		return Remote
	}
	return 0
}

// Dialect is the version of the dialect of [Frame]; 0 is that of ckpool in C.
const Dialect = 1

// Hello asks for a link, as the first line of a connection.
type Hello struct {
	Role    Role   // what the link is for
	Program string // name and version of who asks, such as "ckpool/1.0"
	Dialect int    // the highest that is understood
	Secret  string // that the other side wants, "" none
}

// AppendHello writes the line, with its LF. ckpool in C reads the program alone.
func AppendHello(b []byte, h *Hello) []byte {
	b = fmt.Appendf(b, `{"method":%q,"params":[`, h.Role.Method())
	b = stratum.AppendString(b, h.Program)
	if h.Dialect > 0 || h.Secret != "" {
		b = fmt.Appendf(b, `,{"dialect":%d`, h.Dialect)
		if h.Secret != "" {
			b = stratum.AppendString(append(b, `,"secret":`...), h.Secret)
		}
		b = append(b, '}')
	}
	return append(b, "]}\n"...)
}

// maxProgram is how much of a program's name is read, in bytes.
const maxProgram = 64

// ParseHello reads the params of a line whose method asks for a link. Whatever is no
// array of a text and an object is read as far as it goes: ckpool in C looks at none of it.
func ParseHello(role Role, params []byte) Hello {
	h := Hello{Role: role}
	p, _ := stratum.ParseParams(params)
	raw, _ := p.Next()
	program, _ := stratum.String(raw, nil)
	h.Program = string(program[:min(len(program), maxProgram)])
	raw, _ = p.Next()
	members, _ := stratum.ParseMembers(raw)
	for key, value, ok := members.Next(); ok; key, value, ok = members.Next() {
		switch string(key) {
		case "dialect":
			h.Dialect, _ = strconv.Atoi(string(value))
		case "secret":
			secret, _ := stratum.String(value, nil)
			h.Secret = string(secret)
		}
	}
	h.Dialect = max(h.Dialect, 0)
	return h
}

// Answer is what the other side says to a Hello.
type Answer struct {
	Accepted bool   // the link is given
	Reason   string // why not
	Dialect  int    // that is spoken from here on
	Sums     bool   // lines of Sums are understood
	Role     Role   // that was asked for; who reads an answer knows it
}

// AppendAnswer writes the line, with its LF.
func AppendAnswer(b []byte, a *Answer) []byte {
	if !a.Accepted {
		b = stratum.AppendString(append(b, `{"result":false,"error":`...), a.Reason)
		return append(b, "}\n"...)
	}
	b = append(b, `{"result":true`...)
	if a.Role == Remote { // without it ckpool in C would send more, for a database
		b = append(b, `,"ckdb":false`...)
	}
	if a.Dialect > 0 {
		b = fmt.Appendf(b, `,"dialect":%d`, a.Dialect)
	}
	if a.Sums {
		b = append(b, `,"sums":true`...)
	}
	return append(b, "}\n"...)
}

// NoLink begins the reason where a pool refuses a link as it refuses any other request, with
// a stratum error.
const NoLink = "No link: "

// ErrNoAnswer is that a line answers no Hello: another one came before the answer.
var ErrNoAnswer = errors.New("not an answer to a request for a link")

// ParseAnswer reads the line, without LF. The error is ErrNoAnswer; that a link is refused
// is none.
func ParseAnswer(line []byte) (a Answer, err error) {
	members, ok := object(line)
	if !ok {
		return a, ErrNoAnswer
	}
	answered := false
	for key, value, ok := members.Next(); ok; key, value, ok = members.Next() {
		switch string(key) {
		case "result":
			a.Accepted, answered = string(value) == "true", true
		case "dialect":
			a.Dialect, _ = strconv.Atoi(string(value))
		case "sums":
			a.Sums = string(value) == "true"
		case "error":
			if m := (stratum.Message{Error: value}); m.HasError() {
				a.Reason = strings.TrimPrefix(m.Verdict().Text, NoLink)
			}
		case "method", "node.method":
			return Answer{}, ErrNoAnswer
		}
	}
	if !answered {
		return Answer{}, ErrNoAnswer
	}
	return a, nil
}

// object walks over a line that is one JSON object, white space around it aside.
func object(line []byte) (m stratum.Members, ok bool) {
	start := jsontext.Space(line, 0)
	end := jsontext.Value(line, start, 0)
	if end < 0 || jsontext.Space(line, end) != len(line) {
		return m, false
	}
	return stratum.ParseMembers(line[start:end])
}
