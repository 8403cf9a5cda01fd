package logfile

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// handler formats records. Immutable.
type handler struct {
	log    *Log
	attrs  []byte // formatted attributes of WithAttrs
	prefix string // of WithGroup: "group."
}

func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return Number(l) <= h.log.Level() }

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	attrs := h.attrs[:len(h.attrs):len(h.attrs)]
	r.Attrs(func(a slog.Attr) bool {
		attrs = appendAttr(attrs, h.prefix, a)
		return true
	})
	when := r.Time
	if when.IsZero() {
		when = time.Now()
	}
	h.log.write(r.Level, when, append(appendEscaped(nil, r.Message), attrs...))
	return nil
}

func (h *handler) WithAttrs(list []slog.Attr) slog.Handler {
	copied := *h
	copied.attrs = h.attrs[:len(h.attrs):len(h.attrs)]
	for _, a := range list {
		copied.attrs = appendAttr(copied.attrs, h.prefix, a)
	}
	return &copied
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	copied := *h
	copied.prefix += name + "."
	return &copied
}

// appendAttr appends " key=value", quoted where it would not be one word.
func appendAttr(b []byte, prefix string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, member := range v.Group() {
			b = appendAttr(b, prefix, member)
		}
		return b
	}
	if a.Key == "" {
		return b
	}
	b = append(b, ' ')
	b = appendEscaped(b, prefix+a.Key)
	b = append(b, '=')
	s := v.String()
	if s == "" || strings.ContainsAny(s, " \"=") {
		return strconv.AppendQuote(b, s)
	}
	return appendEscaped(b, s)
}

// appendEscaped keeps text on its line and keeps what miners send from steering
// the terminal: control characters and broken UTF-8 are written as in Go.
func appendEscaped(b []byte, s string) []byte {
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if unicode.IsControl(r) || r == utf8.RuneError && n == 1 || r == '\u2028' || r == '\u2029' {
			quoted := strconv.Quote(s[:n])
			b = append(b, quoted[1:len(quoted)-1]...)
		} else {
			b = append(b, s[:n]...)
		}
		s = s[n:]
	}
	return b
}
