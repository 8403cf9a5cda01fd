//go:build linux

package netserver

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// splitter feeds bytes to a loop's line splitter, without sockets.
func splitter(maxLine int, line func(s string), tooLong func()) (feed func(b []byte) bool) {
	s := &Server{config: Config{MaxLine: maxLine}}
	l := &Loop{server: s, partials: partials{lines: make(map[Slot][]byte)}}
	l.handler = &probe{l: l,
		line: func(_ *probe, _ Slot, b []byte) { line(string(b)) },
		long: func(*probe, Slot) { tooLong() },
	}
	slot, c := l.slab.take()
	c.set(open)
	return func(b []byte) bool {
		l.lines(slot, c, b)
		return c.live()
	}
}

func TestFraming(t *testing.T) {
	const limit = 16
	tests := []struct {
		name, input string
		want        []string
		tooLong     bool
	}{
		{"one line", "abc\n", []string{"abc"}, false},
		{"CR LF", "abc\r\n", []string{"abc"}, false},
		{"one CR of two is cut", "abc\r\r\n", []string{"abc\r"}, false},
		{"CR inside stays", "a\rb\n", []string{"a\rb"}, false},
		{"empty lines are lines", "\n\r\n\n", []string{"", "", ""}, false},
		{"several", "a\nbb\nccc\n", []string{"a", "bb", "ccc"}, false},
		{"end missing", "a\nbb", []string{"a"}, false},
		{"nothing", "", nil, false},
		{"NUL is a byte", "a\x00b\n", []string{"a\x00b"}, false},
		{"limit with LF", "123456789012345\n", []string{"123456789012345"}, false},
		{"limit with CR LF", "12345678901234\r\n", []string{"12345678901234"}, false},
		{"over the limit", "1234567890123456\n", nil, true},
		{"over the limit by CR", "123456789012345\r\n", nil, true},
		{"limit without LF can still end", "123456789012345", nil, false},
		{"over without LF", "1234567890123456", nil, true},
		{"lines before the long one", "a\nb\n1234567890123456\nc\n", []string{"a", "b"}, true},
	}
	for _, tt := range tests {
		for _, chunk := range []int{1, 2, 3, 5, 1000} {
			t.Run(fmt.Sprintf("%s in %d", tt.name, chunk), func(t *testing.T) {
				var got []string
				tooLong := 0
				feed := splitter(limit, func(s string) { got = append(got, s) }, func() { tooLong++ })
				in := []byte(tt.input)
				for len(in) > 0 {
					n := min(chunk, len(in))
					if !feed(in[:n]) {
						break
					}
					in = in[n:]
				}
				if strings.Join(got, "|") != strings.Join(tt.want, "|") || len(got) != len(tt.want) {
					t.Errorf("lines %q, want %q", got, tt.want)
				}
				if tooLong > 1 || (tooLong == 1) != tt.tooLong {
					t.Errorf("TooLong was called %d times, want %v", tooLong, tt.tooLong)
				}
			})
		}
	}
}

// FuzzLines compares the splitter, fed in random pieces, with bytes.Split.
func FuzzLines(f *testing.F) {
	f.Add([]byte("{\"id\":1}\n{\"id\":2}\r\n"), uint64(1))
	f.Add([]byte("\n\n\r\n\r\r\n"), uint64(2))
	f.Add([]byte(strings.Repeat("x", 63)+"\n"+strings.Repeat("y", 64)+"\n"), uint64(3))
	f.Add([]byte("no end"), uint64(4))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		const limit = 64
		var want []string
		wantLong := false
		pieces := bytes.Split(in, []byte("\n"))
		for i, p := range pieces {
			last := i == len(pieces)-1
			if len(p) >= limit {
				wantLong = true
				break
			}
			if !last {
				want = append(want, string(bytes.TrimSuffix(p, []byte("\r"))))
			}
		}
		var got []string
		gotLong := false
		feed := splitter(limit, func(s string) { got = append(got, s) }, func() { gotLong = true })
		rnd := rand.New(rand.NewPCG(seed, 0))
		for rest := in; len(rest) > 0; {
			n := 1 + rnd.IntN(min(len(rest), 1+rnd.IntN(100)))
			chunk := bytes.Clone(rest[:n])
			if !feed(chunk) {
				break
			}
			clear(chunk) // the read buffer is used again
			rest = rest[n:]
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") || len(got) != len(want) || gotLong != wantLong {
			t.Errorf("lines %q, too long %v; want %q, %v", got, gotLong, want, wantLong)
		}
	})
}
