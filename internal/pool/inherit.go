package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"ckpool/internal/logfile"
	"ckpool/internal/netserver"
)

// Inherit gives the pool listening sockets of another process for Listen.
func (p *Pool) Inherit(files []*os.File) error {
	var sockets []netserver.Inherited
	for i, f := range files {
		if l, err := net.FileListener(f); err == nil {
			p.logAt(logfile.LevelWarning, fmt.Sprintf("Inherited old server socket %d url %v !", i, l.Addr()))
			l.Close()
		}
		sockets = append(sockets, netserver.Inherited{File: f})
	}
	return p.server.Inherit(sockets)
}

// ListenInherited is Listen as far as it can be done while the process the
// sockets are of still runs: false means that it has other ports in use.
func (p *Pool) ListenInherited(ctx context.Context) (bool, error) {
	err := p.Listen(ctx)
	if errors.Is(err, syscall.EADDRINUSE) {
		return false, nil
	}
	return err == nil, err
}

// DropInherited closes the inherited sockets that no listen address wanted.
func (p *Pool) DropInherited() {
	for _, addr := range p.server.DropInherited() {
		p.logAt(logfile.LevelWarning, fmt.Sprintf("Handed over socket url %s does not match config, creating new socket", addr))
	}
}
