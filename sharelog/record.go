package sharelog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Record is one line of a share log: a submitted share, accepted or not.
type Record struct {
	WorkID      uint64  // id of the job
	ClientID    int64   // of the connection
	Extranonce1 string  // hex
	Extranonce2 string  // hex
	Nonce       string  // hex
	NTime       string  // hex
	Difficulty  float64 // what the share had to reach
	Achieved    float64 // what its hash reached; -1 when no hash was computed
	Hash        string  // 64 hex digits, most significant first; empty when none was computed
	Result      bool    // accepted

	// Why it was rejected: code and text of the stratum error. Code 0 with a
	// text is the form of versions before error codes.
	ErrorCode int
	ErrorText string
	// RejectReason is the key that stood in place of the error until 2023.
	RejectReason string
	// Errn numbers the reasons: 0 accepted, 1 invalid job id, 2 stale, 3 ntime
	// out of range, 4 duplicate, 5 above target, 6 invalid version mask.
	Errn int

	Created       time.Time // when the share came
	CreateBy      string    // "code"
	CreateCode    string    // what of the program made the record
	CreateInet    string    // listener the miner is connected to
	WorkerName    string    // with the user's
	UserName      string    // of the login
	Address       string    // of the miner, without port
	Agent         string    // as mining.subscribe told it
	SecondaryUser string    // versions of 2017 with a database

	// Unknown holds keys this package does not know, in their order.
	Unknown []Field
}

// Field is a key with its JSON value.
type Field struct {
	Key   string          // unescaped
	Value json.RawMessage // as it stands in the line
}

// Append appends the record as one line without its line feed.
func (r *Record) Append(b []byte) []byte {
	o := NewObject(b)
	o.Int("workinfoid", int64(r.WorkID))
	o.Int("clientid", r.ClientID)
	o.String("enonce1", r.Extranonce1)
	if r.SecondaryUser != "" {
		o.String("secondaryuserid", r.SecondaryUser)
	}
	o.String("nonce2", r.Extranonce2)
	o.String("nonce", r.Nonce)
	o.String("ntime", r.NTime)
	o.Real("diff", r.Difficulty, 17)
	o.Real("sdiff", r.Achieved, 17)
	o.String("hash", r.Hash)
	o.Bool("result", r.Result)
	if r.RejectReason != "" {
		o.String("reject-reason", r.RejectReason)
	}
	switch {
	case r.ErrorCode != 0:
		o.key("error")
		o.buf = strconv.AppendInt(append(o.buf, '['), int64(r.ErrorCode), 10)
		o.buf = append(o.buf, ", "...)
		o.buf = append(AppendString(o.buf, r.ErrorText), ", null]"...)
	case r.ErrorText != "":
		o.String("error", r.ErrorText)
	}
	o.Int("errn", int64(r.Errn))
	o.key("createdate")
	o.buf = strconv.AppendInt(append(o.buf, '"'), r.Created.Unix(), 10)
	o.buf = strconv.AppendInt(append(o.buf, ','), int64(r.Created.Nanosecond()), 10)
	o.buf = append(o.buf, '"')
	o.String("createby", r.CreateBy)
	o.String("createcode", r.CreateCode)
	o.String("createinet", r.CreateInet)
	o.String("workername", r.WorkerName)
	o.String("username", r.UserName)
	o.String("address", r.Address)
	o.String("agent", r.Agent)
	for _, f := range r.Unknown {
		o.Raw(f.Key, f.Value)
	}
	return o.Close()
}

// ParseRecord reads one line of any version's share log.
func ParseRecord(line []byte) (Record, error) {
	var r Record
	d := json.NewDecoder(bytes.NewReader(line))
	if t, err := d.Token(); err != nil {
		return r, fmt.Errorf("share log line: %w", err)
	} else if t != json.Delim('{') {
		return r, fmt.Errorf("share log line: not a JSON object")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return r, fmt.Errorf("share log line: %w", err)
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return r, fmt.Errorf("share log line: key %q: %w", key, err)
		}
		if err := r.set(key.(string), v); err != nil {
			return r, fmt.Errorf("share log line: key %q: %w", key, err)
		}
	}
	if _, err := d.Token(); err != nil {
		return r, fmt.Errorf("share log line: %w", err)
	}
	return r, nil
}

func (r *Record) set(key string, v json.RawMessage) error {
	switch key {
	case "workinfoid":
		id, err := integer(v)
		r.WorkID = uint64(id)
		return err
	case "clientid":
		return assign(&r.ClientID, integer, v)
	case "enonce1":
		return json.Unmarshal(v, &r.Extranonce1)
	case "secondaryuserid":
		return json.Unmarshal(v, &r.SecondaryUser)
	case "nonce2":
		return json.Unmarshal(v, &r.Extranonce2)
	case "nonce":
		return json.Unmarshal(v, &r.Nonce)
	case "ntime":
		return json.Unmarshal(v, &r.NTime)
	case "diff":
		return json.Unmarshal(v, &r.Difficulty)
	case "sdiff":
		return json.Unmarshal(v, &r.Achieved)
	case "hash":
		return json.Unmarshal(v, &r.Hash)
	case "result":
		return json.Unmarshal(v, &r.Result)
	case "reject-reason":
		return json.Unmarshal(v, &r.RejectReason)
	case "error":
		return r.setError(v)
	case "errn":
		return json.Unmarshal(v, &r.Errn)
	case "createdate":
		return assign(&r.Created, createDate, v)
	case "createby":
		return json.Unmarshal(v, &r.CreateBy)
	case "createcode":
		return json.Unmarshal(v, &r.CreateCode)
	case "createinet":
		return json.Unmarshal(v, &r.CreateInet)
	case "workername":
		return json.Unmarshal(v, &r.WorkerName)
	case "username":
		return json.Unmarshal(v, &r.UserName)
	case "address":
		return json.Unmarshal(v, &r.Address)
	case "agent":
		return json.Unmarshal(v, &r.Agent)
	}
	r.Unknown = append(r.Unknown, Field{key, bytes.Clone(v)})
	return nil
}

func (r *Record) setError(v json.RawMessage) error {
	if v[0] != '[' {
		return json.Unmarshal(v, &r.ErrorText)
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(v, &parts); err != nil {
		return err
	}
	if len(parts) < 2 {
		return fmt.Errorf("want [code, text], have %s", v)
	}
	if err := json.Unmarshal(parts[0], &r.ErrorCode); err != nil {
		return err
	}
	return json.Unmarshal(parts[1], &r.ErrorText)
}

func assign[T any](to *T, parse func(json.RawMessage) (T, error), v json.RawMessage) error {
	got, err := parse(v)
	if err == nil {
		*to = got
	}
	return err
}

// integer reads a signed or unsigned 64-bit number.
func integer(v json.RawMessage) (int64, error) {
	if n, err := strconv.ParseUint(string(v), 10, 64); err == nil {
		return int64(n), nil
	}
	return strconv.ParseInt(string(v), 10, 64)
}

// createDate reads "seconds,nanoseconds".
func createDate(v json.RawMessage) (time.Time, error) {
	var text string
	if err := json.Unmarshal(v, &text); err != nil {
		return time.Time{}, err
	}
	sec, nsec, _ := strings.Cut(text, ",")
	s, err := strconv.ParseInt(sec, 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	if nsec == "" {
		return time.Unix(s, 0), nil
	}
	n, err := strconv.ParseInt(nsec, 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	if n < 0 || n >= 1e9 {
		return time.Time{}, fmt.Errorf("%d nanoseconds", n)
	}
	return time.Unix(s, n), nil
}
