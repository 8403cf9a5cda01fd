package pool

import (
	"errors"
	"fmt"

	"github.com/ckpool/ckpool/internal/handover"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/wire"
)

// linkHead is at the head of a link, and of channels of it with their sessions.
type linkHead struct {
	loop uint16 // that it was on
	link uint32 // which of that loop
}

func (k *linkHead) fields(c *wire.Codec) {
	wire.Uint(c, &k.loop)
	wire.Uint(c, &k.link)
}

// channelsPerSection is how many channels go into one section, about half a megabyte.
const channelsPerSection = 1000

// sendLinks sends the links of a loop that stands still, each with its channels behind it.
func (o *Outgoing) sendLinks(loop *netserver.Loop, send handover.Send) error {
	h := o.pool.links.Handlers()[loop.Index()]
	head := linkHead{loop: uint16(loop.Index())}
	for slot := range netserver.Movable(loop) {
		if !h.Linked(slot) || h.Stays(slot) {
			continue
		}
		head.link++
		c := wire.Append(nil)
		c.Versioned(linksVersion, head.fields)
		empty := len(c.Written())
		fd, _ := netserver.Export(loop, slot, c)
		h.ExportLink(slot, c)
		if err := send(sectionLink, c.Written(), []int{fd}); err != nil {
			return err
		}
		sessions := o.sessions
		n := 0
		c.Reset(empty)
		for channel := range h.Behind(slot) {
			h.ExportChannel(channel, c)
			sessions.Session(h.Handler, channel, c)
			if n++; n%channelsPerSection == 0 {
				if err := send(sectionChannels, c.Written(), nil); err != nil {
					return err
				}
				c.Reset(empty)
			}
		}
		if n%channelsPerSection > 0 {
			if err := send(sectionChannels, c.Written(), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeLink passes a link, or channels, to the loop that the link is for.
func (a *Incoming) takeLink(kind handover.Kind, data []byte, fds []int) error {
	var k linkHead
	r := wire.Read(data)
	r.Versioned(linksVersion, k.fields)
	err := r.Err()
	switch wanted := map[handover.Kind]int{sectionLink: 1}[kind]; {
	case err == nil && len(fds) != wanted:
		err = fmt.Errorf("%d descriptors", len(fds))
	case err == nil && kind == sectionLink:
		a.links[k] = a.loopFor(int(k.loop))
	case err == nil:
		if _, known := a.links[k]; !known {
			err = errors.New("channels of no link")
		}
	}
	if err != nil {
		handover.CloseAll(fds)
		return fmt.Errorf("links: %w", err)
	}
	a.give(a.links[k], batch{kind: kind, link: k, data: r.Rest(), fds: fds})
	return nil
}

// importLink makes a link of what has come for a loop; links are those before.
func (a *Incoming) importLink(i int, b *batch, r *wire.Codec, links map[linkHead]netserver.Slot) error {
	slot, open, err := netserver.Import(a.pool.server.Loops()[i], b.fds[0], r, a.sessions.Listener)
	switch {
	case err != nil:
		return err
	case !open:
		return errors.New("a link that waits for its beginning")
	}
	links[b.link] = slot
	return a.pool.links.Handlers()[i].ImportLink(slot, r, a.sessions.Listener)
}

// importChannels makes channels of what has come for a loop.
func (a *Incoming) importChannels(i int, b *batch, r *wire.Codec, links map[linkHead]netserver.Slot) error {
	link, known := links[b.link]
	if !known {
		return errors.New("channels of a link that could not be taken")
	}
	h, sessions := a.pool.links.Handlers()[i], a.sessions
	for r.More() {
		slot, err := h.ImportChannel(link, r)
		if err == nil {
			err = sessions.Session(h.Handler, slot, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
