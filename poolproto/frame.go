package poolproto

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strconv"
)

// Kind is what a [Frame] says, and the first byte of its line.
type Kind byte

const (
	// From the side of the miners.
	Open  Kind = 'o' // a miner has come: Channel, Address, Number of its listener
	Close Kind = 'c' // the miner of Channel has left, or (from the pool) is to go: Text says why

	// From the pool.
	Define Kind = 'w' // Text is line Number from here on, for Send; the last KeptLines count
	Send   Kind = 'b' // line Number goes to the channels of Text, see Channels

	// Between a pool and a node, Text is the message: from the node
	Request Kind = 'r' // transactions are wanted, or the present work
	// and from the pool.
	Work         Kind = 'i' // a WorkInfo
	Transactions Kind = 't' // that were asked for
	Solved       Kind = 'k' // a Block

	// Between a pool and a trusted remote. From the remote
	Journal Kind = 'j' // Text: a RemoteJournal; and its answer, Text: a RemotePlace
	Bytes   Kind = 'd' // Text: bytes of the journal, see AppendBytes; they begin at Number of a file
	Workers Kind = 'n' // Number of miners is connected that are of a user, Text
	// from the main pool
	Kept Kind = 'y' // what was sent of a file, Text, is safe up to Number
	// and both.
	Accounts Kind = 'a' // Text is a message about who may mine, of conversation Number; empty: its end
	Whole    Kind = 'z' // Text: a WholeBlock that was found

	// Both.
	Line Kind = 'l' // Text is a line of, or for, the miner of Channel
	// Sums is what became of shares of Channel that were not passed on, see AppendSums. Number
	// is one that no other of the channel's session has, so that each counts once however often
	// it is said; the pool says it back, without text, when it has counted them.
	Sums Kind = 's'
	Ping Kind = 'p' // wants a Pong
	Pong Kind = 'q' // answers a Ping
)

// KeptLines is how many lines of Define are kept.
const KeptLines = 16

// Frame is a line of our own dialect: its kind, its numbers in decimal and its text, apart
// by one space each.
type Frame struct {
	Kind    Kind       // which of the others there are
	Channel uint32     // of a miner
	Number  uint64     // what it counts, the kind says
	Address netip.Addr // of a miner
	Text    []byte     // of a parsed frame part of the line
}

// shape is what a kind of frame consists of.
type shape struct{ channel, number, address, text bool }

var shapes = map[Kind]shape{
	Open:   {channel: true, number: true, address: true},
	Sums:   {channel: true, number: true, text: true},
	Close:  {channel: true, text: true},
	Define: {number: true, text: true},
	Send:   {number: true, text: true},

	Request:      {text: true},
	Work:         {text: true},
	Transactions: {text: true},
	Solved:       {text: true},

	Journal:  {text: true},
	Bytes:    {number: true, text: true},
	Workers:  {number: true, text: true},
	Kept:     {number: true, text: true},
	Accounts: {number: true, text: true},
	Whole:    {text: true},

	Line: {channel: true, text: true},
	Ping: {},
	Pong: {},
}

// AppendFrame writes the line, its LF included. The text must have no LF.
func AppendFrame(b []byte, f *Frame) []byte {
	k := shapes[f.Kind]
	b = append(b, byte(f.Kind))
	if k.channel {
		b = strconv.AppendUint(append(b, ' '), uint64(f.Channel), 10)
	}
	if k.number {
		b = strconv.AppendUint(append(b, ' '), f.Number, 10)
	}
	if k.address {
		b = f.Address.AppendTo(append(b, ' '))
	}
	if k.text {
		b = append(append(b, ' '), f.Text...)
	}
	return append(b, '\n')
}

// ErrFrame is what the errors of ParseFrame wrap.
var ErrFrame = errors.New("not a line of this dialect")

// ParseFrame reads a line, given without its LF.
func ParseFrame(line []byte) (f Frame, err error) {
	if len(line) == 0 {
		return f, fmt.Errorf("%w: it is empty", ErrFrame)
	}
	f.Kind = Kind(line[0])
	k, known := shapes[f.Kind]
	if !known {
		return f, fmt.Errorf("%w: it begins with %q", ErrFrame, line[0])
	}
	rest := line[1:]
	next := func() (word []byte) {
		rest, _ = bytes.CutPrefix(rest, []byte(" "))
		word, rest = cut(rest)
		return word
	}
	ok := true
	if k.channel && ok {
		f.Channel, ok = channel(next())
	}
	if k.number && ok {
		f.Number, err = strconv.ParseUint(string(next()), 10, 64)
		ok = err == nil
	}
	if k.address && ok {
		f.Address, err = netip.ParseAddr(string(next()))
		f.Address = f.Address.WithZone("").Unmap()
		ok = err == nil
	}
	switch {
	case k.text && ok:
		f.Text, ok = bytes.CutPrefix(rest, []byte(" "))
	case len(rest) > 0:
		ok = false
	}
	if !ok {
		return Frame{}, fmt.Errorf("%w: kind %q", ErrFrame, line[0])
	}
	return f, nil
}

// cut gives what stands before the first space, and the rest with it.
func cut(b []byte) (word, rest []byte) {
	if i := bytes.IndexByte(b, ' '); i >= 0 {
		return b[:i], b[i:]
	}
	return b, nil
}

// AppendChannels adds a channel to the text of a Send, which names those of one range as
// the first and how many follow it. r is the state between calls, &Range{} at first:
// channels that grow by one become one range.
func AppendChannels(b []byte, r *Range, channel uint32) []byte {
	if r.open && channel == r.last+1 && r.last != 1<<32-1 {
		b = b[:r.end]
		r.last++
		return strconv.AppendUint(append(b, '+'), uint64(r.last-r.first), 10)
	}
	if len(b) > 0 {
		b = append(b, ',')
	}
	b = strconv.AppendUint(b, uint64(channel), 10)
	*r = Range{first: channel, last: channel, end: len(b), open: true}
	return b
}

// Range is the last range of channels in a text that AppendChannels makes.
type Range struct {
	first, last uint32
	end         int // of first in the text
	open        bool
}

// Channels gives the channels that the text of a Send names, as first and last of each
// range. It ends at what is none.
func Channels(text []byte) iter.Seq2[uint32, uint32] {
	return func(yield func(first, last uint32) bool) {
		for len(text) > 0 {
			word := text
			if i := bytes.IndexByte(text, ','); i >= 0 {
				word, text = text[:i], text[i+1:]
			} else {
				text = nil
			}
			from, more, ranged := bytes.Cut(word, []byte("+"))
			first, ok := channel(from)
			last := uint64(first)
			if ranged && ok {
				var n uint32
				n, ok = channel(more)
				last += uint64(n)
			}
			if !ok || last > 1<<32-1 || !yield(first, uint32(last)) {
				return
			}
		}
	}
}
