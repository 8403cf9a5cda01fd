package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/handover"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/internal/wire"
	"github.com/ckpool/ckpool/source"
)

// Sections of a handover. The numbers are part of the format; whether one that is
// new may be left out by an older version its number says, see handover.Kind.
const (
	sectionListeners handover.Kind = handover.FirstSection + iota
	sectionState
	sectionUplink
	sectionLimits
	sectionMiners
	// sectionBlocks is found blocks that a node's process alone has: where there are any, an older
	// version does not take over.
	sectionBlocks
	// sectionRedirects only costs those who are not known to be sent on a share.
	sectionRedirects = handover.LeftOut
	// Statistics of a node: only a node sends them, and an older one does not.
	sectionUsers  = handover.LeftOut + 1
	sectionCounts = handover.LeftOut + 2
)

// Versions of the records written here; older ones are read.
const (
	stateVersion  = 1
	minersVersion = 1
	blocksVersion = 1
)

// Instance is what a process that takes over must agree with.
type Instance struct {
	Mode   string   `json:"mode"`
	Loops  int      `json:"loops"`
	Miners int      `json:"miners"` // about how many are to come
	Moving []string `json:"moving"` // URLs of the pools whose links are to come
}

// stateRecord is what is moved of an instance beside its parts.
type stateRecord struct {
	rejecting bool // an operator has stopped accepting
	began     time.Time
	relay     []byte
}

func (k *stateRecord) fields(c *wire.Codec) {
	c.Bool(&k.rejecting)
	began := k.began.Unix()
	if wire.Int(c, &began); c.Reading() {
		k.began = time.Unix(began, 0)
	}
	c.Bytes(&k.relay)
}

// minersHead is at the head of connections.
type minersHead struct {
	loop uint16 // that they were on
}

func (k *minersHead) fields(c *wire.Codec) { wire.Uint(c, &k.loop) }

// blocksRecord is found blocks that no bitcoin node and no file has yet.
type blocksRecord struct{ list []source.SolvedBlock }

func (k *blocksRecord) fields(c *wire.Codec) {
	wire.List(c, &k.list, func(b *source.SolvedBlock, c *wire.Codec) {
		wire.Int(c, &b.Height)
		c.Array(b.Hash[:])
		if c.Bytes(&b.Serialised); c.Reading() {
			b.Serialised = slices.Clone(b.Serialised)
		}
	})
}

// outgoing is an instance on its way to another process. Owned by the goroutine that runs
// the handover.
type outgoing struct {
	*Edge
	frozen *netserver.Frozen
}

// Outgoing prepares one attempt to move the instance to another process.
func (e *Edge) Outgoing() handover.Source { return &outgoing{Edge: e} }

// Describe implements handover.Source.
func (o *outgoing) Describe() (any, string) {
	return Instance{Mode: o.mode(), Loops: len(o.server.Loops()), Miners: o.server.Clients(), Moving: o.relay.Moving()}, o.options.Version
}

// Copy implements handover.Source.
func (o *outgoing) Copy(_ context.Context, first bool, send handover.Send) error {
	if first {
		if err := o.ports.Export(func(record []byte, fds []int) error { return send(sectionListeners, record, fds) }); err != nil {
			return err
		}
	}
	if o.node != nil {
		if err := o.node.users.ExportUsers(first, func(record []byte) error { return send(sectionUsers, record, nil) }); err != nil {
			return err
		}
	}
	return o.relay.ExportRedirects(first, func(record []byte) error { return send(sectionRedirects, record, nil) })
}

// Ready implements handover.Source.
func (o *outgoing) Ready(context.Context) error { return nil }

// Freeze implements handover.Source.
func (o *outgoing) Freeze(ctx context.Context) (since time.Time, err error) {
	if o.node != nil {
		if err := o.node.users.HoldFiles(ctx); err != nil {
			return since, err
		}
	}
	since = time.Now()
	if err = o.relay.Hold(ctx); err == nil {
		if o.frozen, err = o.server.Freeze(ctx); err != nil {
			o.relay.Resume()
		}
	}
	if err != nil && o.node != nil {
		o.node.users.ReleaseFiles()
	}
	return since, err
}

// Rest implements handover.Source.
func (o *outgoing) Rest(send handover.Send) error {
	if err := o.Copy(context.Background(), false, send); err != nil {
		return err
	}
	c := wire.Append(nil)
	c.Versioned(stateVersion, (&stateRecord{o.admission.Rejecting(), o.began, o.relay.Export()}).fields)
	if err := send(sectionState, c.Written(), nil); err != nil {
		return err
	}
	if err := o.relay.ExportUplinks(func(record []byte, socket *os.File) error {
		return send(sectionUplink, record, []int{handover.FD(socket)})
	}); err != nil {
		return err
	}
	if err := send(sectionLimits, o.server.ExportLimits(nil), nil); err != nil {
		return err
	}
	if o.node != nil {
		if err := send(sectionCounts, o.node.users.ExportCounts(nil, time.Now()), nil); err != nil {
			return err
		}
		if k := (blocksRecord{o.node.group.Unsaved()}); len(k.list) > 0 {
			c := wire.Append(nil)
			c.Versioned(blocksVersion, k.fields)
			if err := send(sectionBlocks, c.Written(), nil); err != nil {
				return err
			}
		}
	}
	errs := make([]error, len(o.server.Loops()))
	o.frozen.Each(func(loop *netserver.Loop) { errs[loop.Index()] = o.sendLoop(loop, send) })
	return errors.Join(errs...)
}

func (o *outgoing) sendLoop(loop *netserver.Loop, send handover.Send) error {
	h := o.relay.Handlers()[loop.Index()]
	c, fds := wire.Append(nil), make([]int, 0, handover.MaxFDs)
	c.Versioned(minersVersion, (&minersHead{uint16(loop.Index())}).fields)
	empty := len(c.Written())
	for slot := range netserver.Movable(loop) {
		h.ExportMiner(slot, c)
		fd, _ := netserver.Export(loop, slot, c)
		if fds = append(fds, fd); len(fds) == handover.MaxFDs {
			if err := send(sectionMiners, c.Written(), fds); err != nil {
				return err
			}
			c.Reset(empty)
			fds = fds[:0]
		}
	}
	if len(fds) == 0 {
		return nil
	}
	return send(sectionMiners, c.Written(), fds)
}

// Thaw implements handover.Source.
func (o *outgoing) Thaw() {
	o.frozen.Thaw()
	o.relay.Resume()
	if o.node != nil {
		o.node.users.ReleaseFiles()
	}
}

// Leave implements handover.Source. Run returns afterwards.
func (o *outgoing) Leave() {
	close(o.moved)
	if o.node != nil {
		o.node.group.Leave()
		o.node.users.LeaveFiles()
	}
	o.frozen.Each(func(loop *netserver.Loop) {
		for slot := range netserver.Immovable(loop) {
			o.relay.Handlers()[loop.Index()].SendAway(slot)
		}
	})
	o.relay.Leave()
	o.frozen.Release()
}

// Forget implements handover.Source.
func (o *outgoing) Forget() { o.relay.StopRedirects() }

// incoming is an instance that takes over from another process, before Run. Owned by the
// goroutine that runs the handover.
type incoming struct {
	*Edge
	from     Instance
	open     func() error
	importer *relay.EdgeImporter
	have     map[handover.Kind]bool
	parts    []chan part // to the goroutines that import; nil until the first is there for one

	importing sync.WaitGroup
	errs      []error // by goroutine; read after importing
}

// part is connections.
type part struct {
	data []byte
	fds  []int
}

// Incoming prepares the instance to take over from one that described itself as from. open
// is called once the listening sockets of the other process are here and is to call Listen.
func (e *Edge) Incoming(from json.RawMessage, open func() error) (handover.Incoming, error) {
	a := &incoming{Edge: e, open: open, importer: relay.NewEdgeImporter(e.relay), have: map[handover.Kind]bool{}}
	if err := json.Unmarshal(from, &a.from); err != nil {
		return nil, fmt.Errorf("the running instance describes itself: %w", err)
	}
	if mode := e.mode(); a.from.Mode != mode {
		there := a.from.Mode
		if there == "" {
			there = "pool"
		}
		return nil, fmt.Errorf("this is a %s, the running instance a %s: this cannot change while miners are connected, stop the running instance first", mode, there)
	}
	n := len(e.server.Loops())
	if a.from.Loops != n { // each of theirs may bring miners for any of these
		n = 1
	}
	a.parts, a.errs = make([]chan part, n), make([]error, n)
	e.moving = a.from.Moving
	return a, nil
}

// Section implements handover.Sink.
func (a *incoming) Section(kind handover.Kind, data []byte, fds []int) error {
	a.have[kind] = true
	switch kind {
	case sectionListeners:
		here, err := a.ports.Import(data, fds, a.open)
		a.importer.Listener = func(there int) int {
			if there < len(here) {
				return here[there]
			}
			return 0
		}
		return err
	case sectionUplink:
		if len(fds) != 1 {
			handover.CloseAll(fds)
			return fmt.Errorf("upstream: %d sockets", len(fds))
		}
		return a.importer.Uplink(data, os.NewFile(uintptr(fds[0]), "upstream"))
	case sectionMiners:
		return a.takeMiners(data, fds)
	}
	handover.CloseAll(fds)
	if a.node != nil {
		switch kind {
		case sectionUsers:
			return a.node.users.ImportUsers(data)
		case sectionCounts:
			return a.node.users.ImportCounts(data, time.Now())
		case sectionBlocks:
			k, err := readBlocks(data)
			a.node.moved = k.list
			return err
		}
	}
	switch kind {
	case sectionState:
		return a.takeState(data)
	case sectionRedirects:
		return a.relay.ImportRedirects(data)
	case sectionLimits:
		return a.server.ImportLimits(data)
	}
	return handover.Unknown(kind)
}

// Ready implements handover.Sink.
func (a *incoming) Ready(ctx context.Context) error { return a.Prepare(ctx) }

func readState(data []byte) (k stateRecord, err error) {
	c := wire.Read(data)
	c.Versioned(stateVersion, k.fields)
	if err = c.Done(); err != nil {
		err = fmt.Errorf("state of the instance: %w", err)
	}
	return k, err
}

func readBlocks(data []byte) (k blocksRecord, err error) {
	c := wire.Read(data)
	c.Versioned(blocksVersion, k.fields)
	if err = c.Done(); err != nil {
		err = fmt.Errorf("found blocks: %w", err)
	}
	return k, err
}

func (a *incoming) takeState(data []byte) error {
	k, err := readState(data)
	if err != nil {
		return err
	}
	a.admission.Reject(k.rejecting)
	a.began = k.began
	return a.importer.Edge(k.relay)
}

// takeMiners passes connections to the goroutine of their loop.
func (a *incoming) takeMiners(data []byte, fds []int) error {
	var k minersHead
	r := wire.Read(data)
	r.Versioned(minersVersion, k.fields)
	if err := r.Err(); err != nil || a.importer.Listener == nil {
		handover.CloseAll(fds)
		return errors.Join(errors.New("miners cannot be read"), err)
	}
	i := int(k.loop) % len(a.parts)
	if a.parts[i] == nil {
		parts := make(chan part, 8)
		a.parts[i] = parts
		a.importing.Go(func() { a.errs[i] = a.importParts(i, parts) })
	}
	a.parts[i] <- part{r.Rest(), fds}
	return nil
}

func (a *incoming) importParts(i int, parts <-chan part) (err error) {
	loops := a.server.Loops()
	own := loops[i]
	if len(a.parts) == len(loops) {
		loops = nil
	}
	for p := range parts {
		r := wire.Read(p.data)
		for k, fd := range p.fds {
			if failed := a.importer.Miner(own, fd, r, loops); failed != nil {
				err = errors.Join(err, failed)
				handover.CloseAll(p.fds[k+1:])
				break
			}
		}
		if left := r.Done(); err == nil && left != nil {
			err = fmt.Errorf("miners: %w", left)
		}
	}
	return err
}

// finish waits until all connections are imported.
func (a *incoming) finish() error {
	for i, parts := range a.parts {
		if parts != nil {
			close(parts)
			a.parts[i] = nil
		}
	}
	a.importing.Wait()
	return errors.Join(a.errs...)
}

// Complete implements handover.Sink.
func (a *incoming) Complete() error {
	for _, kind := range []handover.Kind{sectionListeners, sectionState, sectionLimits} {
		if !a.have[kind] {
			return fmt.Errorf("%v is missing", kind)
		}
	}
	if err := a.finish(); err != nil {
		return err
	}
	a.importer.Complete()
	return nil
}

// Miners implements handover.Incoming.
func (a *incoming) Miners() int { return a.server.Clients() }

// Abandon implements handover.Incoming.
func (a *incoming) Abandon() {
	_ = a.finish() // there is a first error already
	netserver.Disown(a.server)
}
