// Package control speaks to a running pool over its unix sockets: framing,
// client, server, and passing descriptors. [Client] has a method for what is
// asked most and [Client.Run] for all [Commands]. How the pool answers is not
// known here.
//
// An instance of ckpool called NAME has its sockets in DIR/NAME, by default
// /tmp/ckpool: listener, stratifier, generator and connector, as ckpool in C has.
// Each of them answers all commands. Who may open them may do all that an operator can.
//
// A connection carries one request and at most one reply. Each is a frame: the
// length of the text as 4 bytes, little-endian, then the text. Every side
// shuts down its writing direction after its frame.
package control

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxRequest is the longest request a [Server] takes, in bytes.
const MaxRequest = 16 << 20

// maxReply bounds what a [Client] takes.
const maxReply = 1 << 30

// ErrFrameLength is wrapped by errors about frames that are empty or too long.
var ErrFrameLength = errors.New("invalid message length")

// WriteFrame writes b, which must not be empty, as one frame in one call.
func WriteFrame(w io.Writer, b []byte) error {
	if len(b) == 0 || len(b) > maxReply {
		return fmt.Errorf("%w %d", ErrFrameLength, len(b))
	}
	frame := binary.LittleEndian.AppendUint32(make([]byte, 0, 4+len(b)), uint32(len(b)))
	_, err := w.Write(append(frame, b...))
	return err
}

// ReadFrame reads one frame of at most limit bytes. The error is io.EOF if
// nothing came at all, io.ErrUnexpectedEOF if the frame is cut off, and wraps
// ErrFrameLength if it is empty or too long. Memory is taken as bytes arrive,
// not as announced.
func ReadFrame(r io.Reader, limit int) ([]byte, error) {
	n, err := readLength(r, limit)
	if err != nil {
		return nil, err
	}
	return readBody(r, n)
}

func readLength(r io.Reader, limit int) (int64, error) {
	var header [4]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, err
	}
	n := int64(binary.LittleEndian.Uint32(header[:]))
	if n == 0 || n > int64(limit) {
		return 0, fmt.Errorf("%w %d", ErrFrameLength, n)
	}
	return n, nil
}

func readBody(r io.Reader, n int64) ([]byte, error) {
	var b bytes.Buffer
	got, err := io.CopyN(&b, r, n)
	if err == io.EOF && got < n {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
