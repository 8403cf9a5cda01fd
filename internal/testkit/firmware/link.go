package firmware

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// link is the connection of a device: lines, and requests that wait for their
// replies. Only the device's goroutine may use it, but for close.
type link struct {
	// immutable
	conn      net.Conn
	form      form
	stringIDs bool
	lines     chan []byte // from the reading goroutine; closed at the end
	quit      chan struct{}
	reader    sync.WaitGroup
	closed    sync.Once

	// owned by the goroutine that uses the device
	nextID   int
	pending  map[string]*request // without a reply, by id as sent
	lastSent time.Time
}

// request is one message that waits for its reply.
type request struct {
	message message
	share   share
}

func newLink(conn net.Conn, t *traits) *link {
	l := &link{
		conn: conn, form: t.form, stringIDs: t.stringIDs,
		lines: make(chan []byte, 256), quit: make(chan struct{}),
		nextID: t.firstID, pending: map[string]*request{}, lastSent: time.Now(),
	}
	l.reader.Go(l.read)
	return l
}

// read passes lines on until the connection ends.
func (l *link) read() {
	defer close(l.lines)
	r := bufio.NewReader(l.conn)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		select {
		case l.lines <- line:
		case <-l.quit:
			return
		}
	}
}

func (l *link) close() {
	l.closed.Do(func() {
		close(l.quit)
		l.conn.Close()
	})
	l.reader.Wait()
}

// receive waits for the next line.
func (l *link) receive(ctx context.Context) ([]byte, error) {
	select {
	case line, open := <-l.lines:
		if !open {
			return nil, ErrClosed
		}
		return line, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *link) write(line string) error {
	l.lastSent = time.Now()
	if err := l.conn.SetWriteDeadline(l.lastSent.Add(10 * time.Second)); err != nil {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	if _, err := io.WriteString(l.conn, line); err != nil {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return nil
}

// send writes one request, remembers it and returns its id as sent.
func (l *link) send(m message, method, params string) (string, error) {
	id := fmt.Sprint(l.nextID)
	if l.stringIDs {
		id = fmt.Sprintf(`"%s-%d"`, m, l.nextID)
	}
	l.nextID++
	l.pending[id] = &request{message: m}
	layout := map[form]string{
		spaced:      "{\"id\": %[1]s, \"method\": \"%[2]s\", \"params\": %[3]s}\n",
		versioned:   "{\"jsonrpc\": \"2.0\", \"id\": %[1]s, \"method\": \"%[2]s\", \"params\": %[3]s}\n",
		paramsFirst: "{\"params\": %[3]s, \"id\": %[1]s, \"method\": \"%[2]s\"}\n",
		compact:     "{\"id\":%[1]s,\"method\":\"%[2]s\",\"params\":%[3]s}\n",
	}[l.form]
	return id, l.write(fmt.Sprintf(layout, id, method, params))
}

// waits reports whether any of the requests has no reply yet.
func (l *link) waits(ids []string) bool {
	for _, id := range ids {
		if l.pending[id] != nil {
			return true
		}
	}
	return false
}

// list is a JSON array.
func list(values ...any) string {
	if values == nil {
		values = []any{}
	}
	b, err := json.Marshal(values)
	if err != nil {
		panic("firmware: strings and numbers can always be marshalled: " + err.Error())
	}
	return string(b)
}
