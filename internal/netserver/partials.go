//go:build linux

package netserver

const (
	spareBuffers  = 64
	spareCapacity = 16 << 10
)

// partials are the beginnings of lines whose end has not come, by slot.
type partials struct {
	lines map[Slot][]byte
	spare [][]byte // buffers of lines that were completed
}

func (p *partials) add(s Slot, c *conn, data []byte) {
	if !c.is(partial) {
		c.set(partial)
		if n := len(p.spare); n > 0 {
			p.lines[s] = p.spare[n-1]
			p.spare = p.spare[:n-1]
		}
	}
	p.lines[s] = append(p.lines[s], data...)
}

// take removes the partial line of s, nil when there is none. The caller gives
// it back by reuse.
func (p *partials) take(s Slot, c *conn) []byte {
	if !c.is(partial) {
		return nil
	}
	c.clear(partial)
	line := p.lines[s]
	delete(p.lines, s)
	return line
}

func (p *partials) reuse(b []byte) {
	if cap(b) > 0 && cap(b) <= spareCapacity && len(p.spare) < spareBuffers {
		p.spare = append(p.spare, b[:0])
	}
}
