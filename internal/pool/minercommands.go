package pool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"ckpool/internal/netserver"
	"ckpool/internal/session"
)

// minerCommands registers what is done to miners.
func (c commands) minerCommands(r registrar) {
	r.act("accept", effect("accepting", func() { c.refuse(&c.rejecting, false) }))
	r.answer("rejects", c.ask(Queries.Rejects))
	r.act("reject", effect("rejecting", func() { c.refuse(&c.rejecting, true) }))
	if r.socket == generator {
		// There it means the upstream: choose the best node again.
		r.act("reconnect", effect("reconnecting", func() { c.nodes.Refresh("operator") }))
	}
	r.act("reconnclient", c.reconnectClient)
	r.act("reconnect:", c.reconnectTo)
	r.act("reconnect", c.reconnectTo)
	r.answer("drops", func(context.Context, string) (string, error) { return string(c.dropsReply()), nil })
	r.act("dropall", c.dropAll)
	r.act("dropclient", c.dropClient)
	r.act("resetshares", effect("resetting", c.ResetRound))
	r.act("message:", c.messageColon)
	r.act("messageclient", c.messageClient)
	r.act("messageuser", c.messageUser)
	r.act("message", c.messageAll)
}

func (c commands) reconnectTo(ctx context.Context, args string) (string, error) {
	host, port, ok := strings.Cut(args, ",")
	if _, err := strconv.ParseUint(port, 10, 16); args != "" && (!ok || host == "" || strings.ContainsAny(host, " \t\r\n") || err != nil) {
		return "", errors.New("want reconnect:HOST,PORT")
	}
	_, err := c.Reconnect(ctx, 0, host, port)
	return "reconnecting", err
}

// toClient parses an id and turns "nobody" into an error.
func toClient(args string, do func(id uint64) (int, error)) (string, error) {
	id, err := strconv.ParseUint(strings.TrimSpace(args), 10, 64)
	if err != nil || id == 0 {
		return "", fmt.Errorf("want a client id, got %.50q", args)
	}
	n, err := do(id)
	if err == nil && n == 0 {
		err = fmt.Errorf("Failed to find client %d", id)
	}
	return "", err
}

func (c commands) reconnectClient(ctx context.Context, args string) (string, error) {
	return toClient(args, func(id uint64) (int, error) { return c.Reconnect(ctx, id, "", "") })
}

func (c commands) dropClient(ctx context.Context, args string) (string, error) {
	return toClient(args, func(id uint64) (int, error) { return c.Drop(ctx, id, netserver.Dropped) })
}

func (c commands) dropAll(ctx context.Context, _ string) (string, error) {
	_, err := c.Drop(ctx, 0, netserver.Dropped)
	return "dropping all", err
}

func (c commands) messageAll(ctx context.Context, args string) (string, error) {
	if args == "" {
		return "", errors.New("want message=TEXT")
	}
	n, err := c.Message(ctx, 0, args)
	return fmt.Sprintf("sent to %d", n), err
}

// messageColon is message:ID=TEXT.
func (c commands) messageColon(ctx context.Context, args string) (string, error) {
	id, text, ok := strings.Cut(args, "=")
	if !ok || text == "" {
		return "", errors.New("want message:ID=TEXT")
	}
	return toClient(id, func(id uint64) (int, error) { return c.Message(ctx, id, text) })
}

// messageClient is messageclient={"id":N,"text":"T"}.
func (c commands) messageClient(ctx context.Context, args string) (string, error) {
	id, answer := argument[uint64]("messageclient", args, "id")
	text, missing := name("messageclient", args, "text")
	if answer == nil {
		answer = missing
	}
	if answer != nil {
		return string(answer), nil
	}
	return toClient(strconv.FormatUint(id, 10), func(id uint64) (int, error) { return c.Message(ctx, id, text) })
}

// messageUser is messageuser={"user":"U","text":"T"}.
func (c commands) messageUser(ctx context.Context, args string) (string, error) {
	u, answer := Queries{c.State}.findUser("messageuser", args)
	text, missing := name("messageuser", args, "text")
	if answer == nil {
		answer = missing
	}
	if answer != nil {
		return string(answer), nil
	}
	n, err := c.doOnLoops(ctx, func(h *session.Handler, done session.Done) { h.MessageUser(u.Name, text, done) })
	return fmt.Sprintf("sent to %d", n), err
}

// sendObject is {…, "client_id": ID, …} of the connector: the rest of the
// object goes to that miner as a line.
func (c commands) sendObject(socket string) handler {
	if socket != connector {
		return refuse("objects are sent to miners by the socket connector")
	}
	return func(ctx context.Context, args string) (string, error) {
		id, line, err := cutClientID([]byte("{" + args))
		if err != nil {
			return "", err
		}
		return toClient(strconv.FormatUint(id, 10), func(id uint64) (int, error) {
			return c.doOnLoops(ctx, func(h *session.Handler, done session.Done) { h.Send(id, line, done) })
		})
	}
}

// cutClientID takes the member client_id out of an object and compacts the
// rest, which keeps its order.
func cutClientID(text []byte) (id uint64, line []byte, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil {
		return 0, nil, fmt.Errorf("Failed to JSON decode: %w", err)
	}
	line = append(line, '{')
	found := false
	for d.More() {
		key, err := d.Token()
		var v json.RawMessage
		if err == nil {
			err = d.Decode(&v)
		}
		if err != nil {
			return 0, nil, fmt.Errorf("Failed to JSON decode: %w", err)
		}
		if key == "client_id" {
			found = json.Unmarshal(v, &id) == nil
			continue
		}
		if len(line) > 1 {
			line = append(line, ',')
		}
		k, _ := json.Marshal(key)
		line = append(append(append(line, k...), ':'), v...)
	}
	if _, err := d.Token(); err != nil {
		return 0, nil, fmt.Errorf("Failed to JSON decode: %w", err)
	}
	if !found {
		return 0, nil, errors.New("Failed to find client_id key")
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, append(line, '}')); err != nil {
		return 0, nil, fmt.Errorf("Failed to JSON decode: %w", err)
	}
	return id, append(compact.Bytes(), '\n'), nil
}
