package stratum

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// The longest extranonces a miner's side takes.
const (
	maxExtranonce1 = 64
	maxExtranonce2 = 32
)

// Extranonce is what a pool gives a miner to make its coinbases its own: the
// result of mining.subscribe, or the params of mining.set_extranonce.
type Extranonce struct {
	SessionID      string // subscribe only; may be empty
	Extranonce1    []byte // goes into the coinbase before extranonce2
	Extranonce2Len int    // in bytes, 1 to 32
}

// ParseSubscribeResult reads the raw result of a mining.subscribe. Pools
// nest the list of subscriptions in different ways; the session id is the
// string behind "mining.notify" wherever that stands.
func ParseSubscribeResult(raw []byte) (Extranonce, error) {
	p, ok := ParseParams(raw)
	if !ok {
		return Extranonce{}, errors.New("subscribe: result is not an array")
	}
	subscriptions, _ := p.Next()
	e, err := parseExtranonce(&p)
	if err != nil {
		return Extranonce{}, fmt.Errorf("subscribe: %w", err)
	}
	e.SessionID, _ = sessionID(subscriptions, 4)
	return e, nil
}

// ParseExtranonce reads the params of a mining.set_extranonce.
func ParseExtranonce(params []byte) (Extranonce, error) {
	p, ok := ParseParams(params)
	if !ok {
		return Extranonce{}, errors.New("set_extranonce: params is not an array")
	}
	e, err := parseExtranonce(&p)
	if err != nil {
		return Extranonce{}, fmt.Errorf("set_extranonce: %w", err)
	}
	return e, nil
}

func parseExtranonce(p *Params) (e Extranonce, err error) {
	raw, _ := p.Next()
	text, ok := String(raw, nil)
	if !ok || len(text) > 2*maxExtranonce1 {
		return e, fmt.Errorf("extranonce1 is not a string of up to %d hex digits", 2*maxExtranonce1)
	}
	if e.Extranonce1, err = hex.AppendDecode(nil, text); err != nil {
		return e, fmt.Errorf("extranonce1: %w", err)
	}
	raw, _ = p.Next()
	size, ok := Number(raw)
	if !ok || size < 1 || size > maxExtranonce2 || size != float64(int(size)) {
		return e, fmt.Errorf("extranonce2 length is not a number from 1 to %d", maxExtranonce2)
	}
	e.Extranonce2Len = int(size)
	return e, nil
}

// sessionID looks through nested arrays for one that begins with
// "mining.notify" and returns the string behind it.
func sessionID(raw []byte, depth int) (id string, ok bool) {
	p, ok := ParseParams(raw)
	if !ok || depth == 0 {
		return "", false
	}
	for i := 0; ; i++ {
		v, ok := p.Next()
		if !ok {
			return "", false
		}
		if s, isString := String(v, nil); i == 0 && isString && string(s) == "mining.notify" {
			v, _ = p.Next()
			s, ok = String(v, nil)
			return string(s), ok
		}
		if id, ok := sessionID(v, depth-1); ok {
			return id, true
		}
	}
}

// ParseDifficulty reads the params of a mining.set_difficulty: a positive
// number, whole or fractional.
func ParseDifficulty(params []byte) (float64, error) {
	p, _ := ParseParams(params)
	raw, _ := p.Next()
	d, ok := Number(raw)
	if !ok || d <= 0 {
		return 0, errors.New("set_difficulty: not a positive number")
	}
	return d, nil
}

// ParseVersionMask reads the params of a mining.set_version_mask.
func ParseVersionMask(params []byte) (uint32, error) {
	p, _ := ParseParams(params)
	raw, _ := p.Next()
	text, _ := String(raw, nil)
	mask, ok := Hex32(text)
	if !ok {
		return 0, errors.New("set_version_mask: not a hex number of up to 8 digits")
	}
	return mask, nil
}

// ParseConfigureResult reads the raw result of a mining.configure: the version
// bits that may be rolled, 0 when version rolling was refused.
func ParseConfigureResult(raw []byte) (mask uint32, err error) {
	m, ok := ParseMembers(raw)
	if !ok {
		return 0, errors.New("configure: result is not an object")
	}
	granted := false
	for {
		key, value, ok := m.Next()
		if !ok {
			break
		}
		switch string(key) {
		case "version-rolling":
			granted = string(value) == "true"
		case "version-rolling.mask":
			text, _ := String(value, nil)
			if mask, ok = Hex32(text); !ok {
				return 0, errors.New("configure: version-rolling.mask is not a hex number of up to 8 digits")
			}
		}
	}
	if !granted {
		return 0, nil
	}
	return mask, nil
}

// ParseMessage reads the params of a client.show_message.
func ParseMessage(params []byte) (string, error) {
	p, _ := ParseParams(params)
	raw, _ := p.Next()
	text, ok := String(raw, nil)
	if !ok {
		return "", errors.New("show_message: not a string")
	}
	return string(text), nil
}

// Reconnect is the params of a client.reconnect.
type Reconnect struct {
	Host string        // empty: where the connection is now
	Port uint16        // 0: the present one
	Wait time.Duration // before connecting
}

// ParseReconnect reads the params of a client.reconnect: none, or host, port
// and seconds to wait, each number as such or as a string.
func ParseReconnect(params []byte) (r Reconnect, err error) {
	p, ok := ParseParams(params)
	if !ok {
		return r, nil
	}
	raw, ok := p.Next()
	if !ok {
		return r, nil
	}
	host, isString := String(raw, nil)
	if !isString && string(raw) != "null" {
		return r, errors.New("reconnect: host is not a string")
	}
	r.Host = string(host)
	if raw, ok = p.Next(); ok && !empty(raw) {
		port, ok := Number(raw)
		if !ok || port < 0 || port > 65535 || port != float64(int(port)) {
			return Reconnect{}, errors.New("reconnect: port is not a number from 0 to 65535")
		}
		r.Port = uint16(port)
	}
	if raw, ok = p.Next(); ok && !empty(raw) {
		const longest = 24 * 60 * 60
		wait, ok := Number(raw)
		if !ok || wait < 0 || wait > longest {
			return Reconnect{}, errors.New("reconnect: wait is not a number of seconds up to a day")
		}
		r.Wait = time.Duration(wait * float64(time.Second))
	}
	return r, nil
}

// empty reports null or an empty string.
func empty(raw []byte) bool { return string(raw) == "null" || string(raw) == `""` }

// Verdict reads what a reply to a submit says: nil for accepted, which only a
// true result without an error is. The reason of a refusal is taken from an
// error that is an array, an object or a string, or from reject-reason; a
// refusal without a code has Other.
func (m *Message) Verdict() *Reject {
	hasError := m.HasError()
	if !hasError && string(m.Result) == "true" {
		return nil
	}
	r := Reject{Code: Other}
	if hasError {
		r = parseError(m.Error)
	}
	if reason, _ := String(m.RejectReason, nil); r.Text == "" || r.Text == "rejected" {
		r.Text = string(reason)
	}
	if r.Text == "" {
		r.Text = "rejected"
	}
	return &r
}

// HasError reports an error member that is neither null nor false.
func (m *Message) HasError() bool {
	return m.Error != nil && string(m.Error) != "null" && string(m.Error) != "false"
}

func parseError(raw []byte) Reject {
	r := Reject{Code: Other}
	if s, ok := String(raw, nil); ok {
		r.Text = string(s)
		return r
	}
	if p, ok := ParseParams(raw); ok {
		code, _ := p.Next()
		text, _ := p.Next()
		setCode(&r, code)
		setText(&r, text)
		return r
	}
	m, ok := ParseMembers(raw)
	for ok {
		var key, value []byte
		if key, value, ok = m.Next(); ok {
			switch string(key) {
			case "code":
				setCode(&r, value)
			case "message":
				setText(&r, value)
			}
		}
	}
	if r.Text == "" {
		r.Text = string(bytes.TrimSpace(raw))
	}
	return r
}

func setCode(r *Reject, raw []byte) {
	if code, err := strconv.Atoi(string(raw)); err == nil {
		r.Code = Code(code)
	}
}

func setText(r *Reject, raw []byte) {
	if s, ok := String(raw, nil); ok {
		r.Text = string(s)
	}
}
