package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
)

// toMiners registers what is done to miners. It comes after what asks: "rejects"
// is found before "reject".
func (o *Operator) toMiners(r Registrar) {
	o.Admission.Commands(r)
	if r.Socket == generatorSocket {
		// There it means the upstream: choose the best node again.
		r.Act("reconnect", effect("reconnecting", func() { o.Source.Refresh("operator") }))
	}
	r.Act("reconnclient", o.reconnectClient)
	r.Act("reconnect:", o.reconnectTo)
	r.Act("reconnect", o.reconnectTo)
	r.Act("dropall", o.dropAll)
	r.Act("dropclient", o.dropClient)
	r.Act("droplink", o.dropLink)
	r.Act("resetshares", effect("resetting", o.Users.ResetRound))
	r.Act("message:", o.messageColon)
	r.Act("messageclient", o.messageClient)
	r.Act("messageuser", o.messageUser)
	r.Act("message", o.messageAll)
}

func (o *Operator) reconnectTo(ctx context.Context, args string) (string, error) {
	host, port, err := Target(args)
	if err != nil {
		return "", err
	}
	_, err = o.Miners.Reconnect(ctx, 0, host, port)
	return "reconnecting", err
}

// Target reads HOST,PORT behind reconnect, or nothing.
func Target(args string) (host, port string, err error) {
	host, port, ok := strings.Cut(args, ",")
	if _, err := strconv.ParseUint(port, 10, 16); args != "" && (!ok || host == "" || strings.ContainsAny(host, " \t\r\n") || err != nil) {
		return "", "", errors.New("want reconnect:HOST,PORT")
	}
	return host, port, nil
}

// ToClient parses an id and turns "nobody" into an error.
func ToClient(args string, do func(id uint64) (int, error)) (string, error) {
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

func (o *Operator) reconnectClient(ctx context.Context, args string) (string, error) {
	return ToClient(args, func(id uint64) (int, error) { return o.Miners.Reconnect(ctx, id, "", "") })
}

func (o *Operator) dropClient(ctx context.Context, args string) (string, error) {
	return ToClient(args, func(id uint64) (int, error) { return o.Miners.Drop(ctx, id, netserver.Dropped) })
}

func (o *Operator) dropAll(ctx context.Context, _ string) (string, error) {
	_, err := o.Miners.Drop(ctx, 0, netserver.Dropped)
	return "dropping all", err
}

// dropLink is droplink=ID.
func (o *Operator) dropLink(_ context.Context, args string) (string, error) {
	id, err := strconv.ParseUint(strings.TrimSpace(args), 10, 64)
	if err != nil || id == 0 {
		return "", fmt.Errorf("want the id of a link, see links, got %.50q", args)
	}
	if !o.Links.Drop(id) {
		return "", fmt.Errorf("Failed to find link %d", id)
	}
	return "", nil
}

func (o *Operator) messageAll(ctx context.Context, args string) (string, error) {
	if args == "" {
		return "", errors.New("want message=TEXT")
	}
	n, err := o.Miners.Message(ctx, 0, args)
	return fmt.Sprintf("sent to %d", n), err
}

// messageColon is message:ID=TEXT.
func (o *Operator) messageColon(ctx context.Context, args string) (string, error) {
	id, text, ok := strings.Cut(args, "=")
	if !ok || text == "" {
		return "", errors.New("want message:ID=TEXT")
	}
	return ToClient(id, func(id uint64) (int, error) { return o.Miners.Message(ctx, id, text) })
}

// messageClient is messageclient={"id":N,"text":"T"}.
func (o *Operator) messageClient(ctx context.Context, args string) (string, error) {
	q := question{command: "messageclient", args: args}
	id, err := argument[uint64](q, "id")
	if err != nil {
		return "", err
	}
	text, err := q.name("text")
	if err != nil {
		return "", err
	}
	return ToClient(strconv.FormatUint(id, 10), func(id uint64) (int, error) { return o.Miners.Message(ctx, id, text) })
}

// messageUser is messageuser={"user":"U","text":"T"}.
func (o *Operator) messageUser(ctx context.Context, args string) (string, error) {
	q := question{"messageuser", args, time.Now()}
	u, err := o.findUser(q)
	if err != nil {
		return "", err
	}
	text, err := q.name("text")
	if err != nil {
		return "", err
	}
	n, err := o.Miners.MessageUser(ctx, u.Name, text)
	return fmt.Sprintf("sent to %d", n), err
}

// sendObject is {…, "client_id": ID, …} of the connector: the rest of the
// object goes to that miner as a line.
func (o *Operator) sendObject(socket string) handler {
	if socket != connectorSocket {
		return refuse("objects are sent to miners by the socket connector")
	}
	return func(ctx context.Context, args string) (string, error) {
		id, line, err := cutClientID([]byte("{" + args))
		if err != nil {
			return "", err
		}
		return ToClient(strconv.FormatUint(id, 10), func(id uint64) (int, error) {
			return o.Miners.Send(ctx, id, line)
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
