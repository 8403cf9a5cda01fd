package handover

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair is two ends of a connection.
func pair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		ends[i] = c.(*net.UnixConn)
		_ = ends[i].SetDeadline(time.Now().Add(20 * time.Second))
	}
	return ends[0], ends[1]
}

func links(t testing.TB) (a, b *link) {
	x, y := pair(t)
	return newLink(context.Background(), x), newLink(context.Background(), y)
}

// Frames of all sizes, with and without descriptors, arrive in order and
// whole, each descriptor with its frame.
func TestFrames(t *testing.T) {
	a, b := links(t)
	var pipes []*os.File
	for range MaxFDs {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		pipes = append(pipes, r)
	}
	sizes := []struct{ data, fds int }{{0, 0}, {1, 1}, {100, 250}, {64 << 10, 3}, {64<<10 + 1, 0}, {3 << 20, 250}, {10, 0}, {0, 2}, {0, 2}}
	sent := make(chan error, 1)
	go func() {
		for i, s := range sizes {
			var fds []int
			for _, f := range pipes[:s.fds] {
				fds = append(fds, FD(f))
			}
			if err := a.send(FirstSection+Kind(i), bytes.Repeat([]byte{byte(i)}, s.data), fds); err != nil {
				sent <- err
				return
			}
		}
		a.conn.Close()
		sent <- nil
	}()
	var earlier [][]byte
	for i, s := range sizes {
		f, err := b.receive()
		if err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		if f.kind != FirstSection+Kind(i) || len(f.data) != s.data || bytes.Count(f.data, []byte{byte(i)}) != s.data || len(f.fds) != s.fds {
			t.Fatalf("frame %d: %v, %d bytes, %d descriptors", i, f.kind, len(f.data), len(f.fds))
		}
		for k, fd := range f.fds {
			received := os.NewFile(uintptr(fd), "received")
			if err := sameFile(received, pipes[k]); err != nil {
				t.Errorf("frame %d, descriptor %d: %v", i, k, err)
			}
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("frame %d, descriptor %d survives exec", i, k)
			}
			received.Close()
		}
		earlier = append(earlier, f.data)
	}
	for i, data := range earlier { // nothing was written over
		if bytes.Count(data, []byte{byte(i)}) != len(data) {
			t.Errorf("frame %d was changed later", i)
		}
	}
	if _, err := b.receive(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestBadFrames(t *testing.T) {
	header := func(kind Kind, fds uint16, size uint32) []byte {
		b := []byte{byte(kind)}
		b = binary.BigEndian.AppendUint16(b, fds)
		return binary.BigEndian.AppendUint32(b, size)
	}
	tests := []struct {
		name string
		in   []byte
		want string
	}{
		{"cut in the header", []byte{1, 2}, "unexpected EOF"},
		{"cut in the data", append(header(kindMark, 0, 10), 1, 2), "unexpected EOF"},
		{"too large", header(kindMark, 0, maxFrame+1), "too large"},
		{"too many descriptors", header(FirstSection, MaxFDs+1, 0), "too large"},
		{"descriptors did not come", header(FirstSection, 1, 0), "section 16 with 1 descriptors came with 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := links(t)
			if _, err := a.conn.Write(tt.in); err != nil {
				t.Fatal(err)
			}
			a.conn.Close()
			if f, err := b.receive(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%+v, %v, want %q", f, err, tt.want)
			}
		})
	}
	a, _ := links(t)
	if err := a.send(FirstSection, nil, make([]int, MaxFDs+1)); err == nil {
		t.Error("too many descriptors sent")
	}
}

// Whatever comes is taken or refused, and no descriptor is lost on the way.
func FuzzReceive(f *testing.F) {
	f.Add([]byte{16, 0, 0, 0, 0, 0, 2, 'a', 'b', 2, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{16, 0, 1, 0, 0, 0, 0})
	f.Add([]byte{16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 100_000 {
			return
		}
		a, b := links(t)
		defer a.conn.Close()
		defer b.close()
		if _, err := a.conn.Write(in); err != nil {
			t.Fatal(err)
		}
		a.conn.Close()
		total := 0
		for {
			frame, err := b.receive()
			if err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal(err)
				}
				return
			}
			total += headerSize + len(frame.data)
			if total > len(in) {
				t.Fatalf("%d bytes out of %d", total, len(in))
			}
		}
	})
}

// A new process that gives up is seen at once, and keeps no descriptor it was
// given: a miner's connection would stay open for ever.
func TestCloseEndsTheConnection(t *testing.T) {
	a, b := links(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fd, err := unix.FcntlInt(w.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	a.fds = []int{fd}
	(&Link{link: a, old: peer{fd: -1}}).Close()
	for what, end := range map[string]interface {
		io.Reader
		SetDeadline(time.Time) error
	}{"connection": b.conn, "descriptor": r} {
		_ = end.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := end.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the other end of the %s says %v", what, err)
		}
	}
}
