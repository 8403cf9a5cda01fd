package ports

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/handover"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/wire"
)

// listenersVersion is that of the record written here; older ones are read.
const listenersVersion = 1

// listenersRecord are all listeners. The descriptors of the section are in the
// order of all addresses.
type listenersRecord struct {
	Version   int              `json:"version"`
	Listeners []listenerRecord `json:"listeners"`
}

type listenerRecord struct {
	URL   string           `json:"url"`
	Addrs []netip.AddrPort `json:"addrs"`
}

func readListeners(record []byte) ([]listenerRecord, error) {
	var k listenersRecord
	err := wire.ReadJSON(record, listenersVersion, &k)
	if err != nil {
		err = fmt.Errorf("listeners: %w", err)
	}
	return k.Listeners, err
}

// Export gives send the record of all listeners, with their sockets.
func (p *Ports) Export(send func(record []byte, fds []int) error) error {
	sockets, err := p.server.Sockets()
	if err != nil {
		return err
	}
	var fds []int
	for _, s := range sockets {
		defer s.File.Close()
		fds = append(fds, handover.FD(s.File))
	}
	list := listenersRecord{Version: listenersVersion}
	for _, k := range p.server.Listeners() {
		list.Listeners = append(list.Listeners, listenerRecord{k.URL, k.Addrs})
	}
	record, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return send(record, fds)
}

// Import takes the listeners of another process, and has open open the ports, which finds
// them there. It returns the index here of each listener there.
func (p *Ports) Import(record []byte, fds []int, open func() error) (here []int, err error) {
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), "listener")
	}
	var sockets []netserver.Inherited
	listeners, err := readListeners(record)
	for _, l := range listeners {
		for range l.Addrs {
			if len(sockets) < len(files) {
				sockets = append(sockets, netserver.Inherited{URL: l.URL, File: files[len(sockets)]})
			}
		}
	}
	if err == nil && len(sockets) != len(files) {
		err = fmt.Errorf("listeners: %d listening sockets for other addresses", len(files))
	}
	if err != nil {
		for _, f := range files {
			f.Close()
		}
		return nil, err
	}
	if err := p.server.Inherit(sockets); err != nil {
		return nil, err
	}
	if err := open(); err != nil {
		return nil, err
	}
	for _, addr := range p.server.DropInherited() {
		p.events.Say(event.Warning, fmt.Sprintf("No longer listening on %s: it is not in the configuration", addr))
	}
	for _, l := range listeners {
		here = append(here, p.here(l))
	}
	return here, nil
}

// here is the index of the listener with the same URL, or else an address in common, or
// else the first.
func (p *Ports) here(l listenerRecord) int {
	list := p.server.Listeners()
	if i := slices.IndexFunc(list, func(k *netserver.Listener) bool { return k.URL == l.URL }); i >= 0 {
		return i
	}
	i := slices.IndexFunc(list, func(k *netserver.Listener) bool {
		return slices.ContainsFunc(k.Addrs, func(addr netip.AddrPort) bool { return slices.Contains(l.Addrs, addr) })
	})
	return max(i, 0)
}
