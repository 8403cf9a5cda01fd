package control

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

func TestFrame(t *testing.T) {
	var buf bytes.Buffer
	if err := WriteFrame(&buf, []byte("ping")); err != nil {
		t.Fatal(err)
	}
	if got := buf.String(); got != "\x04\x00\x00\x00ping" {
		t.Errorf("frame %q", got)
	}
	buf.WriteString("extra")
	b, err := ReadFrame(iotest.OneByteReader(&buf), 4)
	if err != nil || string(b) != "ping" || buf.String() != "extra" {
		t.Errorf("%q, %v; left %q", b, err, buf.String())
	}
}

func TestReadFrameErrors(t *testing.T) {
	tests := []struct {
		name, in string
		want     error
	}{
		{"nothing", "", io.EOF},
		{"half a length", "\x04\x00", io.ErrUnexpectedEOF},
		{"no text", "\x04\x00\x00\x00", io.ErrUnexpectedEOF},
		{"half a text", "\x04\x00\x00\x00pi", io.ErrUnexpectedEOF},
		{"empty", "\x00\x00\x00\x00ping", ErrFrameLength},
		{"too long", "\x65\x00\x00\x00ping", ErrFrameLength},
		{"2 GiB", "\x00\x00\x00\x80", ErrFrameLength},
		{"4 GiB", "\xff\xff\xff\xff", ErrFrameLength},
	}
	for _, tt := range tests {
		if b, err := ReadFrame(strings.NewReader(tt.in), 100); !errors.Is(err, tt.want) {
			t.Errorf("%s: %q, %v; want %v", tt.name, b, err, tt.want)
		}
	}
	if err := WriteFrame(io.Discard, nil); !errors.Is(err, ErrFrameLength) {
		t.Errorf("an empty frame: %v", err)
	}
}

// A length alone must not make the reader take that much memory.
func TestReadFrameTakesMemoryAsBytesArrive(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := ReadFrame(strings.NewReader("\x00\x00\x00\x01ping"), MaxRequest); err != io.ErrUnexpectedEOF {
		t.Errorf("%v", err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes for an announced 16 MiB", n)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("\x04\x00\x00\x00ping"))
	f.Add([]byte("\x04\x00\x00\x00pi"))
	f.Add([]byte("\x00\x00\x00\x00"))
	f.Add([]byte("\xff\xff\xff\xffx"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 1000
		r := bytes.NewReader(in)
		b, err := ReadFrame(r, limit)
		valid := len(in) > 4 && binary.LittleEndian.Uint32(in) <= limit &&
			binary.LittleEndian.Uint32(in) > 0 && uint64(len(in)-4) >= uint64(binary.LittleEndian.Uint32(in))
		if valid != (err == nil) {
			t.Fatalf("%x: %v", in, err)
		}
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := WriteFrame(&again, b); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Bytes(), in[:len(in)-r.Len()]) {
			t.Fatalf("%x was read from %x", again.Bytes(), in)
		}
	})
}
