package forward

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/ckpool/ckpool/event"
)

const (
	// requestTimeout is how long a server or a receiver may take to answer.
	requestTimeout = 5 * time.Second
	// A silent link is given up after pingEvery twice.
	pingEvery = 5 * time.Second
	// Waits between tries to connect double from the one to the other.
	leastWait = 100 * time.Millisecond
	mostWait  = 10 * time.Second
)

// check tells apart what trying again does not mend.
func check(servers, credentials string) error {
	for text := range strings.SplitSeq(servers, ",") {
		scheme, rest, ok := strings.Cut(strings.TrimSpace(text), "://")
		if !ok {
			scheme, rest = "nats", scheme
		}
		if !slices.Contains([]string{"nats", "tls", "ws", "wss"}, scheme) || rest == "" {
			return fmt.Errorf("NATS %s: want tls://HOST or nats://HOST", Redacted(servers))
		}
	}
	if credentials == "" {
		return nil
	}
	text, err := os.ReadFile(credentials)
	if err == nil && !bytes.Contains(text, []byte("BEGIN NATS USER JWT")) {
		err = errors.New("there are no credentials of NATS in it")
	}
	if err != nil {
		return fmt.Errorf("NATS: %s: %w", credentials, unwrapped(err))
	}
	return nil
}

// unwrapped is an error of a file without its name.
func unwrapped(err error) error {
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		return file.Err
	}
	return err
}

// Connect connects to the NATS servers of a URL, nats://user:password@host:4222 or
// tls://…, of which there may be several with commas between, with the credentials
// of a file unless it is "". It does not wait for a server: one that is away is tried
// again for ever, and told of when that changes. Close the connection when done.
func Connect(servers, credentials, name string, events event.Func, others ...nats.Option) (*nats.Conn, error) {
	if err := check(servers, credentials); err != nil {
		return nil, err
	}
	options := append(others,
		nats.Name(name),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(func(attempts int) time.Duration {
			wait := min(leastWait<<min(attempts, 10), mostWait)
			return wait/2 + rand.N(wait/2)
		}),
		nats.ReconnectBufSize(-1), // what cannot be sent now is sent from the journal
		nats.PingInterval(pingEvery),
		nats.MaxPingsOutstanding(2),
		nats.ConnectHandler(func(c *nats.Conn) { events.Say(event.Notice, "Connected to "+c.ConnectedUrlRedacted()) }),
		nats.ReconnectHandler(func(c *nats.Conn) { events.Say(event.Notice, "Connected again to "+c.ConnectedUrlRedacted()) }),
		nats.DisconnectErrHandler(func(c *nats.Conn, err error) {
			if c.IsClosed() {
				return
			}
			if err == nil {
				err = nats.ErrConnectionClosed
			}
			events.Say(event.Warning, fmt.Sprintf("Connection to NATS is lost: %v; journals keep what is not sent", err))
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { events.Say(event.Warning, "NATS: "+err.Error()) }),
	)
	if credentials != "" {
		options = append(options, nats.UserCredentials(credentials))
	}
	c, err := nats.Connect(servers, options...)
	if err != nil {
		return nil, fmt.Errorf("NATS %s: %w", Redacted(servers), err)
	}
	if !c.IsConnected() {
		why := ""
		if err := c.LastError(); err != nil {
			why = ": " + err.Error()
		}
		events.Say(event.Warning, fmt.Sprintf("NATS %s cannot be reached%s; trying again, journals keep what is not sent", Redacted(servers), why))
	}
	return c, nil
}

// Redacted is what Connect takes as a URL without what is secret in it.
func Redacted(servers string) string {
	list := strings.Split(servers, ",")
	for i, text := range list {
		list[i] = strings.TrimSpace(text)
		u, err := url.Parse(list[i])
		if err != nil || u.User == nil {
			continue
		}
		if _, ok := u.User.Password(); !ok { // a name without a password is a token
			u.User = url.User("xxxxx")
		}
		list[i] = u.Redacted()
	}
	return strings.Join(list, ",")
}
