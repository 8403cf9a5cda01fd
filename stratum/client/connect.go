package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"

	"golang.org/x/net/proxy"
)

// Connect opens a connection as Dial does, with TLS if the URL says so, through SOCKS5 if
// the options do, and says nothing over it.
func (e Endpoint) Connect(ctx context.Context, opts Options) (net.Conn, error) {
	if opts.Dial == nil {
		opts.Dial = new(net.Dialer).DialContext
	}
	return e.connect(ctx, &opts)
}

func (e Endpoint) connect(ctx context.Context, o *Options) (net.Conn, error) {
	host, port, secure, err := e.target()
	if err != nil {
		return nil, err
	}
	dial := o.Dial
	if o.SOCKS5 != "" {
		if dial, err = throughSOCKS5(o.SOCKS5, dial); err != nil {
			return nil, err
		}
	}
	conn, err := dial(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil || !secure {
		return conn, err
	}
	wrapped := tls.Client(conn, o.tls(host))
	if err := wrapped.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return wrapped, nil
}

// tls is how a host's certificate is checked.
func (o *Options) tls(host string) *tls.Config {
	config := &tls.Config{}
	if o.TLS != nil {
		config = o.TLS.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = host
	}
	if len(o.Pin) > 0 {
		config.InsecureSkipVerify = true // the key is all that counts
		config.VerifyConnection = func(s tls.ConnectionState) error {
			key := sha256.Sum256(s.PeerCertificates[0].RawSubjectPublicKeyInfo)
			if !bytes.Equal(key[:], o.Pin) {
				return &PinError{host, key}
			}
			return nil
		}
	}
	return config
}

// PinError tells that a TLS endpoint has another key than the pinned one.
type PinError struct {
	Host string            // of the endpoint
	Key  [sha256.Size]byte // the SHA-256 of the key it has, as Options.Pin would have it
}

// Error names the host and the key that it has.
func (e *PinError) Error() string {
	return fmt.Sprintf("the certificate of %s has the key sha256:%x, not the pinned one", e.Host, e.Key)
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Dial is for who does without a context.
func (d dialFunc) Dial(network, address string) (net.Conn, error) {
	return d(context.Background(), network, address)
}

func (d dialFunc) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d(ctx, network, address)
}

// throughSOCKS5 is a dial by way of a SOCKS5 proxy (RFC 1928), which is dialled by dial.
func throughSOCKS5(at string, dial dialFunc) (dialFunc, error) {
	address, auth := at, (*proxy.Auth)(nil)
	if i := strings.LastIndexByte(at, '@'); i >= 0 {
		user, password, _ := strings.Cut(at[:i], ":")
		address, auth = at[i+1:], &proxy.Auth{User: user, Password: password}
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, fmt.Errorf("SOCKS5 proxy %q: not host:port", address)
	}
	return func(ctx context.Context, network, to string) (net.Conn, error) {
		var own net.Conn // which the proxy's hides
		d, err := proxy.SOCKS5("tcp", address, auth, dialFunc(func(ctx context.Context, network, at string) (conn net.Conn, err error) {
			own, err = dial(ctx, network, at)
			return own, err
		}))
		if err != nil {
			return nil, fmt.Errorf("SOCKS5 proxy %s: %w", address, err)
		}
		if _, err := d.(proxy.ContextDialer).DialContext(ctx, network, to); err != nil { // it is one, as its documentation says
			return nil, err
		}
		return own, nil
	}, nil
}
