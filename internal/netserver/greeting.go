//go:build linux

package netserver

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// greeting is what the first bytes of a connection are.
type greeting uint8

const (
	greetingLine    greeting = iota // one for the handler
	greetingUnknown                 // too short to tell
	greetingTLS
	greetingHTTP
	greetingStratumV2
)

// greetingSize is how many bytes tell what a connection is: the first message of
// a Stratum V2 client, a key in the ElligatorSwift encoding, is 64 random bytes
// (Stratum V2 specification, 4.5.1).
const greetingSize = 64

var httpMethods = []string{"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ", "PATCH ", "CONNECT ", "TRACE ", "PRI * HTTP/2"}

// recognise tells what a connection is that begins with b, its first bytes of
// all that came, greetingSize at most; all is how many have come.
func recognise(b []byte, all int) greeting {
	switch {
	case len(b) >= 2 && b[0] == 0x16 && b[1] == 3: // a record of TLS with a handshake
		return greetingTLS
	case len(b) >= 3 && b[0] == 0 && b[1] == 0 && b[2] == 0: // SetupConnection without encryption
		return greetingStratumV2
	case all == greetingSize && random(b):
		return greetingStratumV2
	}
	for _, m := range httpMethods {
		if n := min(len(b), len(m)); string(b[:n]) == m[:n] {
			if n == len(m) {
				return greetingHTTP
			}
			return greetingUnknown
		}
	}
	if all < greetingSize && bytes.IndexByte(b, '\n') < 0 {
		return greetingUnknown
	}
	return greetingLine
}

// random tells that b cannot be text.
func random(b []byte) bool {
	control := 0
	for _, c := range b {
		if c < ' ' && c != '\t' && c != '\r' && c != '\n' {
			control++
		}
	}
	return control >= 2 && !utf8.Valid(b)
}

// greeted looks at the first bytes of a connection; false when it is none of a
// miner and was closed. What cannot be told yet is a line until more comes.
func (l *Loop) greeted(s Slot, c *conn, data []byte) bool {
	var first [greetingSize]byte
	var before []byte
	if c.is(partial) {
		before = l.partials.lines[s]
	}
	n := copy(first[:], before)
	n += copy(first[n:], data)
	switch recognise(first[:n], len(before)+len(data)) {
	case greetingUnknown:
	case greetingLine:
		c.clear(fresh)
	case greetingTLS:
		l.Close(s, UnexpectedTLS)
	case greetingStratumV2:
		l.Close(s, StratumV2)
	case greetingHTTP:
		l.Write(s, l.server.page(c.is(secure), first[:n]))
		l.Close(s, HTTPRequest)
	}
	return c.live()
}

// page answers the HTTP request that begins with first, on a port with TLS or
// without. Its status is that of success, because browsers
// show a short page of another one as a page of their own.
func (s *Server) page(secure bool, first []byte) []byte {
	text := "This is no web page.\n"
	if s.config.Page != nil {
		text = s.config.Page(secure)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", len(text))
	if !bytes.HasPrefix(first, []byte("HEAD ")) {
		b.WriteString(text)
	}
	return []byte(b.String())
}
