package poolproto

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/work"
)

// Methods of what ckpool in C says as a trusted remote, and is told.
const (
	RemoteAuth    = "auth"        // a RemoteLogin
	RemoteResult  = "auth.result" // its answer
	RemoteShare   = "share"       // a RemoteShareLine
	RemoteError   = "shareerr"    // about a submit that was no share
	RemoteStats   = "workerstats" // averages of a worker
	RemoteWorkers = "workers"     // how many miners of a user are connected
	RemotePing    = "ping"        // wants a RemotePong
	RemotePong    = "pong"        // answers it
)

// RemoteMethod is the method of a line of ckpool in C on the link of a trusted remote.
func RemoteMethod(line []byte) (string, error) {
	members, ok := object(line)
	if !ok {
		return "", ErrNotObject
	}
	for key, value, ok := members.Next(); ok; key, value, ok = members.Next() {
		if string(key) == "method" {
			if method, isText := stratum.String(value, nil); isText {
				return string(method[:min(len(method), maxMethod)]), nil
			}
		}
	}
	return "", errField("a line of a trusted remote", "method")
}

// RemoteLogin is a miner of a trusted remote that logs in there.
type RemoteLogin struct {
	Worker, Password string     // as mining.authorize has them
	ID               []byte     // of its request, any JSON value; aliases the line
	Agent            string     // user agent
	Address          netip.Addr // of the miner
	Client           int64      // of the remote, for the answer
}

// Parse reads the message.
func (l *RemoteLogin) Parse(line []byte) error {
	*l = RemoteLogin{ID: []byte("null")}
	f, err := newFields(RemoteAuth, line)
	if err != nil {
		return err
	}
	known, named := false, false
	for key, value, ok := f.Next(); ok && f.err == nil; key, value, ok = f.Next() {
		switch f.key = string(key); f.key {
		case "params":
			p, _ := stratum.ParseParams(value)
			raw, _ := p.Next()
			worker, isText := stratum.String(raw, nil)
			raw, _ = p.Next()
			password, _ := stratum.String(raw, nil)
			l.Worker, l.Password, named = string(worker), string(password), isText
		case "id":
			l.ID = value
		case "useragent":
			agent, _ := stratum.String(value, nil)
			l.Agent = string(agent)
		case "address":
			text, _ := stratum.String(value, nil)
			l.Address, _ = netip.ParseAddr(string(text))
			l.Address = l.Address.WithZone("").Unmap()
		case "clientid":
			l.Client, known = int64(f.number(value, 1<<63-1)), true
		}
	}
	switch {
	case f.err != nil:
		return f.err
	case !named:
		return errField(RemoteAuth, "params")
	case !known:
		return errField(RemoteAuth, "clientid")
	}
	return nil
}

// AppendResult writes the answer; refused is why the miner may not mine, "" if it may.
func (l *RemoteLogin) AppendResult(b []byte, refused string) []byte {
	b = fmt.Appendf(b, `{"result":%t,"error":`, refused == "")
	if refused == "" {
		b = append(b, "null"...)
	} else {
		b = stratum.AppendString(b, refused)
	}
	b = append(append(b, `,"id":`...), l.ID...)
	b = append(b, `,"method":"`+RemoteResult+`","client_id":`...)
	return append(strconv.AppendInt(b, l.Client, 10), "}\n"...)
}

// RemoteShareLine is a share that ckpool in C reports, as far as it is looked at.
type RemoteShareLine struct {
	Worker     string     // name, with the user's
	User       string     // of a line to be written, as is the next
	Job        uint64     // of the remote
	Achieved   float64    // likewise: difficulty of the hash
	Agent      string     // user agent
	Address    netip.Addr // of the miner
	Difficulty float64    // that it is credited with
	Hash       [32]byte   // internal order
	Accepted   bool       // by the remote
	Reason     string     // why not

	Extranonce1, Extranonce2 []byte // the whole of both
	Nonce, NTime             uint32 // of the header
}

// Parse reads the message. The hash of an accepted share meets its difficulty.
func (s *RemoteShareLine) Parse(line []byte) error {
	*s = RemoteShareLine{}
	f, err := newFields(RemoteShare, line)
	if err != nil {
		return err
	}
	for key, value, ok := f.Next(); ok && f.err == nil; key, value, ok = f.Next() {
		switch f.key = string(key); f.key {
		case "workername":
			s.Worker = string(f.text(value))
		case "agent":
			agent, _ := stratum.String(value, nil)
			s.Agent = string(agent)
		case "address":
			text, _ := stratum.String(value, nil)
			s.Address, _ = netip.ParseAddr(string(text))
			s.Address = s.Address.WithZone("").Unmap()
		case "diff":
			if s.Difficulty, ok = stratum.Number(value); !ok {
				f.fail()
			}
		case "hash":
			s.Hash = f.hash(value)
		case "result":
			s.Accepted = string(value) == "true"
		case "error", "reject-reason":
			if reason, isText := stratum.String(value, nil); isText && s.Reason == "" {
				s.Reason = string(reason)
			}
		case "enonce1":
			s.Extranonce1 = f.bytes(value)
		case "nonce2":
			s.Extranonce2 = f.bytes(value)
		case "nonce":
			s.Nonce = f.word(value)
		case "ntime":
			s.NTime = f.word(value)
		}
	}
	switch {
	case f.err != nil:
		return f.err
	case s.Worker == "":
		return errField(RemoteShare, "workername")
	case !(s.Difficulty > 0) || s.Difficulty > 1e300:
		return errField(RemoteShare, "diff")
	case s.Accepted && !difficulty.Meets(&s.Hash, s.Difficulty):
		return fmt.Errorf("share: the hash %s has not the difficulty %g", work.FormatHash(s.Hash), s.Difficulty)
	}
	return nil
}

// Append writes the message, of a miner at an address, as ckpool in C does.
func (s *RemoteShareLine) Append(b []byte, address string) []byte {
	b = fmt.Appendf(b, `{"workinfoid":%d,"clientid":0`, s.Job)
	b = hex.AppendEncode(append(b, `,"enonce1":"`...), s.Extranonce1)
	b = hex.AppendEncode(append(b, `","nonce2":"`...), s.Extranonce2)
	b = fmt.Appendf(b, `","nonce":"%08x","ntime":"%08x","diff":`, s.Nonce, s.NTime)
	b = appendReal(append(appendReal(b, s.Difficulty), `,"sdiff":`...), s.Achieved)
	b = work.AppendHash(append(b, `,"hash":"`...), s.Hash)
	b = fmt.Appendf(b, `","result":%t,"errn":`, s.Accepted)
	if s.Accepted {
		b = append(b, '0')
	} else {
		b = stratum.AppendString(append(b, `1,"error":`...), s.Reason)
	}
	b = stratum.AppendString(append(b, `,"workername":`...), s.Worker)
	b = stratum.AppendString(append(b, `,"username":`...), s.User)
	b = stratum.AppendString(append(b, `,"address":`...), address)
	b = stratum.AppendString(append(b, `,"agent":`...), s.Agent)
	return append(b, `,"method":"`+RemoteShare+`"}`+"\n"...)
}

// Append writes the message.
func (l *RemoteLogin) Append(b []byte) []byte {
	b = stratum.AppendString(append(b, `{"params":[`...), l.Worker)
	b = stratum.AppendString(append(b, ','), l.Password)
	b = append(append(b, `],"id":`...), l.ID...)
	b = stratum.AppendString(append(b, `,"method":"`+RemoteAuth+`","useragent":`...), l.Agent)
	b = l.Address.AppendTo(append(b, `,"enonce1":"","address":"`...))
	return fmt.Appendf(b, "\",\"clientid\":%d}\n", l.Client)
}

// ParseRemoteResult reads the answer to a login.
func ParseRemoteResult(line []byte) (client int64, refused bool, err error) {
	f, err := newFields(RemoteResult, line)
	if err != nil {
		return 0, false, err
	}
	known := false
	refused = true
	for key, value, ok := f.Next(); ok && f.err == nil; key, value, ok = f.Next() {
		switch f.key = string(key); f.key {
		case "client_id":
			client, known = int64(f.number(value, 1<<63-1)), true
		case "result":
			refused = string(value) != "true"
		}
	}
	if f.err == nil && !known {
		return 0, false, errField(RemoteResult, "client_id")
	}
	return client, refused, f.err
}

// AppendRemoteWorkers says how many miners of a user are connected.
func AppendRemoteWorkers(b []byte, user string, n int) []byte {
	b = stratum.AppendString(append(b, `{"method":"`+RemoteWorkers+`","username":`...), user)
	return fmt.Appendf(b, `,"workers":%d}`+"\n", n)
}

// ParseRemoteWorkers reads how many miners of a user are connected at a trusted remote.
func ParseRemoteWorkers(line []byte) (user string, n int, err error) {
	f, err := newFields(RemoteWorkers, line)
	if err != nil {
		return "", 0, err
	}
	for key, value, ok := f.Next(); ok && f.err == nil; key, value, ok = f.Next() {
		switch f.key = string(key); f.key {
		case "username":
			user = string(f.text(value))
		case "workers":
			n = int(f.number(value, 1<<30))
		}
	}
	if f.err == nil && user == "" {
		return "", 0, errField(RemoteWorkers, "username")
	}
	return user, n, f.err
}

// AppendRemoteLine writes a message about work or a block, as nodes have it, as a line for or
// of a trusted remote that is ckpool in C. There the work of a block has another name.
func AppendRemoteLine(b, message []byte, tag string) []byte {
	if tag == TagBlock {
		message = bytes.Replace(message, []byte(`"jobid":`), []byte(`"workinfoid":`), 1)
	}
	b = append(b, message[:len(message)-1]...)
	return append(append(append(b, `,"method":"`...), tag...), "\"}\n"...)
}

// AppendRemotePong answers a ping.
func AppendRemotePong(b []byte) []byte { return append(b, `{"method":"`+RemotePong+`"}`+"\n"...) }
