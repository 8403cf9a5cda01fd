package poolproto

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/ckpool/ckpool/internal/jsontext"
	"github.com/ckpool/ckpool/stratum"
)

// MaxWrapped is the length of a line, its LF included, over which ckpool in C closes the
// link that it came on.
const MaxWrapped = 1024

// Wrapped is what a passthrough adds to a miner's line.
type Wrapped struct {
	Channel uint32     // of the miner
	Address netip.Addr // of the miner; invalid where there is none
	Server  int        // listener that the miner is at
	Method  string     // of a parsed line; that of Term says that the miner has left
}

// Term is the method of the line that a passthrough says for a miner that has left.
const Term = "mining.term"

// maxMethod is how much of a method is read, in bytes.
const maxMethod = 64

// ErrNoChannel is that a line has no channel that it could be about.
var ErrNoChannel = errors.New("no usable client_id")

// ParseWrapped reads what was added to a miner's line; the rest of it is the miner's. An
// address that is none is left out: whether one is needed the caller knows.
func ParseWrapped(line []byte) (w Wrapped, err error) {
	members, ok := object(line)
	if !ok {
		return w, ErrNotObject
	}
	known := false
	for key, value, ok := members.Next(); ok; key, value, ok = members.Next() {
		switch string(key) {
		case "client_id":
			w.Channel, known = channel(value)
		case "address":
			if text, isText := stratum.String(value, nil); isText && len(text) <= len("0000:0000:0000:0000:0000:ffff:255.255.255.255") {
				w.Address, _ = netip.ParseAddr(string(text))
				w.Address = w.Address.WithZone("").Unmap()
			}
		case "server":
			w.Server, _ = strconv.Atoi(string(value))
		case "method":
			if method, isText := stratum.String(value, nil); isText {
				w.Method = string(method[:min(len(method), maxMethod)])
			}
		}
	}
	if !known {
		return w, ErrNoChannel
	}
	return w, nil
}

// channel reads a channel's number.
func channel(raw []byte) (uint32, bool) {
	n, err := strconv.ParseUint(string(raw), 10, 32)
	return uint32(n), err == nil
}

// ErrNotObject is that a line is not one JSON object.
var ErrNotObject = errors.New("not a JSON object")

// AppendWrapped writes a miner's line with what w says, compactly. What the miner says of
// its own under the names of that is left out.
func AppendWrapped(b, line []byte, w *Wrapped) ([]byte, error) {
	b, err := appendMembers(b, line, func(key []byte) bool {
		switch string(key) {
		case "client_id", "address", "server", "node.method":
			return false
		}
		return true
	})
	if err != nil {
		return b, err
	}
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = appendOrigin(b, w)
	return append(b, "}\n"...), nil
}

func appendOrigin(b []byte, w *Wrapped) []byte {
	b = strconv.AppendUint(append(b, `"client_id":`...), uint64(w.Channel), 10)
	b = append(w.Address.AppendTo(append(b, `,"address":"`...)), '"')
	return strconv.AppendInt(append(b, `,"server":`...), int64(w.Server), 10)
}

// AppendTerm says that a miner has left.
func AppendTerm(b []byte, w *Wrapped) []byte {
	b = appendOrigin(append(b, `{"id":42,`...), w)
	return append(b, `,"method":"`+Term+`","params":[]}`+"\n"...)
}

// appendMembers writes the beginning of a compact object of those members of a line that
// keep says.
func appendMembers(b, line []byte, keep func(key []byte) bool) ([]byte, error) {
	start := jsontext.Space(line, 0)
	members, ok := object(line)
	if !ok || line[start] != '{' {
		return b, ErrNotObject
	}
	b = append(b, '{')
	for key, value, ok := members.Next(); ok; key, value, ok = members.Next() {
		if !keep(key) {
			continue
		}
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = append(stratum.AppendString(b, string(key)), ':')
		b = appendCompact(b, value)
	}
	return b, nil
}

// appendCompact writes a JSON value without white space between its parts.
func appendCompact(b, value []byte) []byte {
	for i := 0; i < len(value); {
		switch c := value[i]; c {
		case ' ', '\t', '\r', '\n':
			i++
		case '"':
			end, _ := jsontext.String(value, i)
			b = append(b, value[i:end]...)
			i = end
		default:
			b = append(b, c)
			i++
		}
	}
	return b
}

// Tagged is what a pool adds to a line for a miner behind a link.
type Tagged struct {
	Tag     string // what the line is, such as "share.result"
	Channel uint32 // where Named
	Named   bool   // it is for a channel
}

// ErrNotLine is that something is no line of a pool.
var ErrNotLine = errors.New("neither a JSON object nor dropclient")

// ParseTagged reads what a pool has added to a line.
func ParseTagged(line []byte) (t Tagged, err error) {
	members, ok := object(line)
	if !ok {
		return t, ErrNotLine
	}
	for key, value, ok := members.Next(); ok; key, value, ok = members.Next() {
		switch string(key) {
		case "client_id":
			t.Channel, t.Named = channel(value)
		case "node.method":
			tag, _ := stratum.String(value, nil)
			t.Tag = string(tag)
		}
	}
	return t, nil
}

// AppendUntagged writes a pool's line as its miner is to have it.
func AppendUntagged(b, line []byte) ([]byte, error) {
	b, err := appendMembers(b, line, func(key []byte) bool {
		return string(key) != "client_id" && string(key) != "node.method"
	})
	if err != nil {
		return b, err
	}
	return append(b, "}\n"...), nil
}

// AppendTagged writes a line of a pool's own, one JSON object with its LF, for a channel.
// answering is the method that it answers, if it is an answer.
func AppendTagged(b, line []byte, channel uint32, answering []byte) []byte {
	end := bytes.LastIndexByte(line, '}')
	b = append(b, line[:end]...)
	b = append(append(append(b, `,"node.method":"`...), tagOf(line, answering)...), `","client_id":`...)
	b = strconv.AppendUint(b, uint64(channel), 10)
	return append(b, "}\n"...)
}

// tagOf is the tag of a line that the stratum package has written: its method stands at
// the end if it has one.
func tagOf(line, answering []byte) string {
	const name = `"method":"`
	if i := bytes.LastIndex(line, []byte(name)); i >= 0 && !bytes.HasPrefix(line, []byte(`{"result"`)) && !bytes.HasPrefix(line, []byte(`{"reject-reason"`)) {
		switch method := line[i+len(name):]; string(method[:bytes.IndexByte(method, '"')]) {
		case "mining.notify":
			return "update"
		case "mining.set_difficulty":
			return "diff"
		case "client.reconnect":
			return "reconnect"
		case "mining.ping":
			return "ping"
		}
		return "message"
	}
	switch string(answering) {
	case "mining.subscribe":
		return "subscribe.result"
	case "mining.authorize", "mining.authorise", "mining.auth", "login":
		return "auth.result"
	case "mining.submit":
		return "share.result"
	case "mining.configure":
		return "mining.configure"
	case "mining.extranonce.subscribe":
		return "extranonce.subscribe.result"
	case "mining.get_transactions", "mining.get_txnhashes":
		return "txns.result"
	}
	return "error"
}

const dropClient = "dropclient="

// AppendDropClient asks for a channel to be closed.
func AppendDropClient(b []byte, channel uint32) []byte {
	return fmt.Appendf(b, dropClient+"%d\n", channel)
}

// ParseDropClient reads the channel that [AppendDropClient] asks to close; ok is false for
// any other line.
func ParseDropClient(line []byte) (id uint32, ok bool) {
	text, found := bytes.CutPrefix(line, []byte(dropClient))
	if !found {
		return 0, false
	}
	return channel(bytes.TrimSpace(text))
}
