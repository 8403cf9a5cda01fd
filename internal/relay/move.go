package relay

import (
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/ckpool/ckpool/internal/netserver"
	codec "github.com/ckpool/ckpool/internal/wire"
	"github.com/ckpool/ckpool/poolproto"
)

// Versions of the records; older ones are read.
const (
	linkVersion    = 1
	channelVersion = 1
)

// linkRecord is what is moved of a link, beside its connection.
type linkRecord struct {
	role, dialect, listener uint8
	program                 string
	since                   time.Time
	number                  uint64 // of the line last defined
	work                    uint64 // job of the last work that a node has
	held                    []byte // lines that wait for newer work
}

func (k *linkRecord) fields(c *codec.Codec) {
	codec.Uint(c, &k.role)
	codec.Uint(c, &k.dialect)
	codec.Uint(c, &k.listener)
	c.Text(&k.program)
	since := k.since.Unix()
	if codec.Int(c, &since); c.Reading() {
		k.since = time.Unix(since, 0)
	}
	codec.Word(c, &k.number)
	codec.Word(c, &k.work)
	c.Bytes(&k.held)
}

// channelRecord is what is moved of a channel, beside its session.
type channelRecord struct {
	id   uint32
	addr netip.Addr
}

func (k *channelRecord) fields(c *codec.Codec) {
	codec.Uint(c, &k.id)
	c.Addr(&k.addr)
}

// Linked tells whether the client in a slot is a link.
func (h *Handler) Linked(slot netserver.Slot) bool { return h.links[slot] != nil }

// Stays tells whether the link in a slot ends with this process: a trusted remote links
// again, and goes on where it was.
func (h *Handler) Stays(slot netserver.Slot) bool { return h.links[slot].remoteLink != nil }

// ExportLink writes the record of the link in slot, whose loop stands still.
func (h *Handler) ExportLink(slot netserver.Slot, c *codec.Codec) {
	l := h.links[slot]
	k := linkRecord{uint8(l.role), uint8(l.dialect), uint8(l.listener), l.program, l.since, l.number, l.work, l.held}
	c.Versioned(linkVersion, k.fields)
}

// Behind gives the channels of the link in slot, whose loop stands still.
func (h *Handler) Behind(slot netserver.Slot) iter.Seq[netserver.Slot] {
	return func(yield func(netserver.Slot) bool) {
		for _, s := range h.links[slot].channels {
			if h.loop.Channel(s) && !yield(s) {
				return
			}
		}
	}
}

// ExportChannel writes the record of a channel, which goes to another process.
func (h *Handler) ExportChannel(slot netserver.Slot, c *codec.Codec) {
	k := channelRecord{h.channels.at(slot).id, h.loop.Remote(slot).Addr()}
	c.Versioned(channelVersion, k.fields)
	netserver.LeaveChannel(h.loop, slot)
}

// Lost gives the channels of a loop that stands still which cannot move: their links are
// gone, or over TLS.
func (h *Handler) Lost() iter.Seq[netserver.Slot] {
	return func(yield func(netserver.Slot) bool) {
		for s := range netserver.Channels(h.loop) {
			if c := h.channels.at(s); c != nil && (c.link.ended || h.loop.Secure(c.link.slot)) && !yield(s) {
				return
			}
		}
	}
}

// ImportLink makes a link of the connection in slot, which another process had. listener
// gives the index here of a listener there. Only before Run, as for ImportChannel.
func (h *Handler) ImportLink(slot netserver.Slot, c *codec.Codec, listener func(int) int) error {
	var k linkRecord
	c.Versioned(linkVersion, k.fields)
	if err := c.Err(); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	if k.dialect > poolproto.Dialect {
		return fmt.Errorf("link: dialect %d", k.dialect)
	}
	l := &link{
		handler: h, slot: slot, role: poolproto.Role(k.role), program: k.program, dialect: int(k.dialect),
		listener: listener(int(k.listener)), remote: h.loop.Remote(slot), since: k.since, number: k.number,
		channels: map[uint32]netserver.Slot{}, heard: h.loop.Now(),
	}
	h.links[slot] = l
	h.loop.MakeLink(slot)
	h.shared.add(l)
	if l.role == poolproto.Node {
		l.join(k.work)
		l.held = k.held
		h.forgive(l)
	}
	return nil
}

// ImportChannel makes a channel of the link in slot, and returns its own slot, which its
// session is to be imported into.
func (h *Handler) ImportChannel(link netserver.Slot, c *codec.Codec) (netserver.Slot, error) {
	var k channelRecord
	c.Versioned(channelVersion, k.fields)
	l := h.links[link]
	switch _, known := l.channels[k.id]; {
	case c.Err() != nil:
		return 0, fmt.Errorf("channel: %w", c.Err())
	case known:
		return 0, fmt.Errorf("channel %d: it is there twice", k.id)
	}
	return l.take(k.id, netip.AddrPortFrom(k.addr, 0)), nil
}
