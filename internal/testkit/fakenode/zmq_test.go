package fakenode

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"io"
	"net"
	"os"
	"strings"
	"testing"
)

// A subscriber gets to the byte what libzmq in Core sent, but for hash and count.
func TestPublisherAgainstRecordedBytes(t *testing.T) {
	want, err := os.ReadFile("testdata/core/zmq-hashblock-3blocks.bin")
	if err != nil {
		t.Fatal(err)
	}
	n := start(t, Config{ZMQ: "127.0.0.1:0"})
	conn, err := net.Dial("tcp", strings.TrimPrefix(n.ZMQ(), "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	hello := frame(greeting(), frameCommand, []byte("\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB\x08Identity\x00\x00\x00\x00"))
	if _, err := conn.Write(frame(hello, frameCommand, []byte("\x09SUBSCRIBEhashblock"))); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return n.Publisher().Subscribers("hashblock") == 1 })
	n.Publisher().Publish("hashtx", make([]byte, 32)) // not subscribed to
	var hashes []string
	for range 3 {
		hashes = append(hashes, n.NewBlock())
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	const first, length = 91, 51 // of the first message, of each
	for i, hash := range hashes {
		at := first + i*length + 2 + len("hashblock") + 2
		if hex.EncodeToString(got[at:at+32]) != hash {
			t.Errorf("message %d: hash %x, want %s", i, got[at:at+32], hash)
		}
		if got[at+32+2] != byte(i) {
			t.Errorf("message %d: count %x", i, got[at+32+2:at+32+6])
		}
		copy(got[at:], want[at:at+38])
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", hex.Dump(got), hex.Dump(want))
	}
}

// Whatever a subscriber sends, the publisher survives it.
func FuzzSubscriber(f *testing.F) {
	f.Add(frame(nil, frameCommand, []byte("\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB")))
	f.Add(frame(nil, frameCommand, []byte("\x09SUBSCRIBEhashblock")))
	f.Add(frame(nil, frameCommand, []byte("\x04PING\x00\x10context")))
	f.Add(frame(nil, 0, []byte("\x01hashblock")))
	f.Add(frame(nil, frameLong, make([]byte, 300)))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := &Publisher{subscribers: map[*subscriber]bool{}, sequence: map[string]uint32{}}
		s := &subscriber{out: make(chan []byte, 1)}
		for r := bufio.NewReader(bytes.NewReader(b)); ; {
			flags, body, err := readFrame(r)
			if err != nil || p.handle(s, flags, body) != nil {
				return
			}
		}
	})
}
