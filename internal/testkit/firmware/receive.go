package firmware

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// incoming is a line of the pool.
type incoming struct {
	ID     json.RawMessage `json:"id"`
	Method *string         `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
	Reason string          `json:"reject-reason"`
}

// handle reads one line as the firmware does. The error ends the connection.
func (d *Device) handle(line []byte) error {
	now := time.Now()
	if gap := now.Sub(d.lastLine); d.traits.silence > 0 && gap > d.traits.silence {
		d.stats.lose("nothing received for %s: it reconnects after %s", gap.Round(time.Second), d.traits.silence)
	}
	d.lastLine = now
	if limit := d.traits.lineLimit; limit > 0 && len(line) > limit {
		d.stats.lose("line of %d bytes does not fit %d: %.60s…", len(line), limit, line)
		return nil
	}
	if limit := d.traits.jsonDocument; limit > 0 {
		if size := arduinoSize(line); size > limit {
			d.stats.lose("line needs a JSON document of %d bytes, it has %d: %.60s…", size, limit, line)
			return nil
		}
	}
	var in incoming
	if err := json.Unmarshal(line, &in); err != nil {
		d.stats.lose("line is not JSON: %v: %.60s", err, line)
		return nil
	}
	directly := d.afterDiff
	d.afterDiff = false
	if directly && d.traits.adopts == atNextJob && (in.Method == nil || *in.Method != "mining.notify") {
		d.stats.lose("set_difficulty is not followed directly by notify, without which it has no effect")
	}
	if in.Method != nil {
		return d.notification(&in)
	}
	return d.reply(&in)
}

// reply matches a line without method with what was asked.
func (d *Device) reply(in *incoming) error {
	id := string(in.ID)
	req := d.link.pending[id]
	if req == nil {
		d.stats.lose("reply to id %s, which waits for none: result %s, error %s", id, in.Result, in.Error)
		return nil
	}
	delete(d.link.pending, id)
	if !d.subscribed && req.message != subscribe && d.traits.oneLine {
		d.stats.lose("the line after subscribe is the reply to %s", req.message)
		return ErrGaveUp
	}
	if d.traits.guesses {
		if taken := guess(in); !fits(req.message, taken) {
			d.stats.lose("result %s of %s is taken for %s", in.Result, req.message, taken)
		}
	}
	switch req.message {
	case subscribe:
		return d.subscribeReply(in)
	case configure:
		d.configureReply(in)
	case authorize:
		if string(in.Result) != "true" || !isNull(in.Error) {
			return fmt.Errorf("%w: %s", ErrRefused, rejection(in))
		}
		d.authorized++
	case suggest, subscribeExtranonce:
		// A refusal is no harm.
	case submit:
		d.outstanding--
		d.stats.count(req.share, in)
	}
	return nil
}

// guess takes a result for what its shape says: an array of three or more for
// that of subscribe, an object with version-rolling for that of configure.
func guess(in *incoming) string {
	var array []json.RawMessage
	var object map[string]json.RawMessage
	switch {
	case !isNull(in.Error):
		return "an error"
	case string(in.Result) == "true", string(in.Result) == "false":
		return "true or false"
	case json.Unmarshal(in.Result, &array) == nil && len(array) >= 3:
		return subscribe.String()
	case json.Unmarshal(in.Result, &object) == nil && object["version-rolling"] != nil:
		return configure.String()
	}
	return "nothing"
}

func fits(m message, taken string) bool {
	if m == subscribe || m == configure {
		return taken == m.String() || taken == "an error"
	}
	return taken == "true or false" || taken == "an error"
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// rejection is the text of an error reply.
func rejection(in *incoming) string {
	var array []json.RawMessage
	var text string
	if json.Unmarshal(in.Error, &array) == nil && len(array) >= 2 && json.Unmarshal(array[1], &text) == nil {
		return fmt.Sprintf("%s %s", array[0], text)
	}
	if in.Reason != "" {
		return in.Reason
	}
	if !isNull(in.Error) {
		return string(in.Error)
	}
	return "result " + string(in.Result)
}

func (d *Device) subscribeReply(in *incoming) error {
	var result []json.RawMessage
	var nonce1 string
	var size int
	if err := json.Unmarshal(in.Result, &result); err != nil || len(result) < 3 || !isNull(in.Error) {
		return fmt.Errorf("subscribe refused: %s", rejection(in))
	}
	if json.Unmarshal(result[1], &nonce1) != nil || json.Unmarshal(result[2], &size) != nil {
		return fmt.Errorf("%w: subscribe result %s", ErrGaveUp, in.Result)
	}
	var subscriptions [][]string
	if json.Unmarshal(result[0], &subscriptions) == nil {
		for _, s := range subscriptions {
			if len(s) == 2 && s[0] == "mining.notify" {
				d.sessionID = s[1]
			}
		}
	}
	if d.sessionID == "" {
		d.stats.lose("subscribe result %s has no mining.notify subscription", in.Result)
	}
	return d.setExtranonce(nonce1, size)
}

func (d *Device) setExtranonce(nonce1 string, size int) error {
	b, err := hex.DecodeString(nonce1)
	if err != nil || len(b) == 0 {
		return fmt.Errorf("%w: extranonce1 %q", ErrGaveUp, nonce1)
	}
	if size < d.family.MinExtranonce2 || size > d.family.MaxExtranonce2 {
		d.stats.lose("extranonce2 of %d bytes: it takes %d to %d", size, d.family.MinExtranonce2, d.family.MaxExtranonce2)
	}
	d.extranonce1, d.nonce2Size, d.subscribed = b, size, true
	return nil
}

func (d *Device) configureReply(in *incoming) {
	var result map[string]json.RawMessage
	if json.Unmarshal(in.Result, &result) != nil {
		d.stats.lose("configure result %s is no object", in.Result)
		return
	}
	if string(result["version-rolling"]) != "true" {
		return
	}
	var text string
	if json.Unmarshal(result["version-rolling.mask"], &text) != nil || len(text) != 8 {
		d.stats.lose("version-rolling.mask %s is not a string of 8 hex digits", result["version-rolling.mask"])
		return
	}
	if !d.traits.needsMask {
		d.setMask(text)
	}
}

func (d *Device) setMask(text string) {
	mask, err := strconv.ParseUint(text, 16, 32)
	if err != nil {
		d.stats.lose("version mask %q: %v", text, err)
		return
	}
	d.mask = uint32(mask)
	d.search.advance(d)
}

// notification handles a line with a method.
func (d *Device) notification(in *incoming) error {
	if !d.subscribed && d.traits.oneLine {
		d.stats.lose("the line after subscribe is %s, not its reply", *in.Method)
		return ErrGaveUp
	}
	var params []json.RawMessage
	if err := json.Unmarshal(in.Params, &params); err != nil && *in.Method != "mining.ping" {
		d.stats.lose("%s without params: %s", *in.Method, in.Params)
		return nil
	}
	switch *in.Method {
	case "mining.notify":
		d.notify(params)
	case "mining.set_difficulty":
		d.setDifficulty(params)
	case "mining.set_version_mask":
		return d.setVersionMask(params)
	case "mining.set_extranonce":
		return d.changeExtranonce(params)
	case "client.reconnect":
		d.stats.Reconnects++
		if d.traits.reconnects.obeys(d.addr, params) {
			return ErrReconnect
		}
	case "client.show_message":
		var text string
		if len(params) == 1 && json.Unmarshal(params[0], &text) == nil {
			d.stats.Messages = append(d.stats.Messages, text)
		}
	case "client.get_version":
		return d.link.write(fmt.Sprintf("{\"id\": %s, \"result\": %q, \"error\": null}\n", in.ID, d.family.UserAgent))
	case "mining.ping":
		if d.traits.form == versioned {
			return d.link.write(fmt.Sprintf("{\"id\":%s,\"method\":\"pong\",\"params\":[]}\n", in.ID))
		}
		return d.link.write(fmt.Sprintf("{\"id\": %s, \"result\": \"pong\", \"error\": null}\n", in.ID))
	}
	return nil
}

func (d *Device) setDifficulty(params []json.RawMessage) {
	if len(params) < 1 {
		d.stats.lose("set_difficulty without a value")
		return
	}
	text := string(params[0])
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || value <= 0 {
		d.stats.lose("set_difficulty %s is not taken", text)
		return
	}
	if d.traits.integers && value >= 1 && strings.ContainsAny(text, ".eE") {
		d.stats.lose("set_difficulty %s: it reads whole numbers", text)
	}
	d.stats.Difficulties = append(d.stats.Difficulties, value)
	d.afterDiff = true
	d.announced = value
	if d.traits.nextPower {
		d.announced = math.Exp2(math.Ceil(math.Log2(value)))
	}
	if d.traits.adopts == atOnce {
		d.adopt()
	}
}

// adopt mines at the announced difficulty from now on.
func (d *Device) adopt() {
	d.difficulty = d.announced
	d.stats.Difficulty = d.difficulty
}

func (d *Device) setVersionMask(params []json.RawMessage) error {
	if d.traits.dropsEarlyMask && d.authorized == 0 {
		d.stats.lose("set_version_mask before the authorize reply: it hangs up")
		return ErrGaveUp
	}
	var text string
	if len(params) < 1 || json.Unmarshal(params[0], &text) != nil {
		d.stats.lose("set_version_mask without a string")
		return nil
	}
	if d.traits.rolls != never && !d.traits.unasked {
		d.setMask(text)
	}
	return nil
}

func (d *Device) changeExtranonce(params []json.RawMessage) error {
	asked := false
	for _, s := range d.traits.login {
		asked = asked || s.send == subscribeExtranonce
	}
	if !asked {
		d.stats.lose("set_extranonce, which it does not know")
		return nil
	}
	var nonce1 string
	var size int
	if len(params) < 2 || json.Unmarshal(params[0], &nonce1) != nil || json.Unmarshal(params[1], &size) != nil {
		d.stats.lose("set_extranonce %s", params)
		return nil
	}
	return d.setExtranonce(nonce1, size)
}

// obeys reports whether client.reconnect with these parameters ends the
// connection to addr.
func (r reconnects) obeys(addr string, params []json.RawMessage) bool {
	if r != sameDomain {
		return r == toConfigured
	}
	var host string
	if len(params) == 0 || json.Unmarshal(params[0], &host) != nil || host == "" {
		return true
	}
	_, ours, found := strings.Cut(addr, ".")
	_, theirs, ok := strings.Cut(host, ".")
	if at := strings.LastIndexByte(ours, ':'); at >= 0 {
		ours = ours[:at]
	}
	return found && ok && ours == theirs
}

// arduinoSize is the memory in bytes that ArduinoJson 6 needs for a line on a
// 32-bit processor: a slot of 16 for each element and member, and a copy of
// each string and name with its terminator.
func arduinoSize(line []byte) int {
	const slot = 16
	size := 0
	d := json.NewDecoder(bytes.NewReader(line))
	var inObject []bool
	name := false // the next token of an object is a name
	for {
		tok, err := d.Token()
		if err != nil {
			return size
		}
		isName := len(inObject) > 0 && inObject[len(inObject)-1] && name
		closing := false
		if delim, ok := tok.(json.Delim); ok && (delim == '}' || delim == ']') {
			inObject = inObject[:len(inObject)-1]
			closing = true
		}
		if s, ok := tok.(string); ok {
			size += len(s) + 1
		}
		if isName && !closing {
			name = false
			continue
		}
		if !closing && len(inObject) > 0 {
			size += slot
		}
		if delim, ok := tok.(json.Delim); ok && !closing {
			inObject = append(inObject, delim == '{')
		}
		name = true
	}
}
