package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"slices"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/handover"
	"github.com/ckpool/ckpool/internal/wire"
)

// Sections that a process adds to those of what it serves.
const (
	sectionControl = handover.SectionsOfProcess + iota // control sockets
	sectionLock                                        // the claim of the socket directory
	sectionProcess
)

// processRecord is what else moves to the new process.
type processRecord struct {
	Version  int          `json:"version"`
	LogLevel *event.Level `json:"loglevel,omitempty"` // as an operator has set it
	// The service manager and its watchdog timeout in microseconds, for a process it has
	// not started.
	Notify   string `json:"notify,omitempty"`
	Watchdog int64  `json:"watchdog,omitempty"`
}

// controlRecord names the control sockets, in the order of their descriptors.
type controlRecord struct {
	Version int      `json:"version"`
	Sockets []string `json:"sockets"`
}

// Versions of the records written here; older ones are read.
const (
	processVersion = 1
	controlVersion = 1
)

func readProcess(record []byte) (r processRecord, err error) {
	err = wire.ReadJSON(record, processVersion, &r)
	if err == nil && (r.Watchdog < 0 || r.Watchdog > math.MaxInt64/1000) {
		err = fmt.Errorf("a watchdog of %d µs", r.Watchdog)
	}
	if err != nil {
		err = fmt.Errorf("state of the process: %w", err)
	}
	return r, err
}

func readControl(record []byte) (sockets []string, err error) {
	var r controlRecord
	err = wire.ReadJSON(record, controlVersion, &r)
	if err != nil {
		err = fmt.Errorf("control sockets: %w", err)
	}
	return r.Sockets, err
}

// outgoing is an instance on its way to another process; it is a handover.Source.
type outgoing struct {
	handover.Source
	s  *service
	to int // process
}

// pausePerMiner is how much longer everything may stand still for each miner: a million
// behind links take a while on a busy machine.
const pausePerMiner = 10 * time.Microsecond

// giveAway answers a new process that wants to take over.
func (s *service) giveAway(ctx context.Context, c *net.UnixConn, arg string) {
	refuse := func(err error) { _ = control.WriteFrame(c, []byte(control.Fault(err))) } // the other side may be gone
	pid, err := allowed(c)
	if err == nil && os.Getpid() == 1 && pid != 0 {
		err = errProcess1
	}
	if err != nil {
		refuse(err)
		return
	}
	if !s.moving.TryLock() {
		refuse(errors.New("another handover is under way"))
		return
	}
	defer s.moving.Unlock()
	s.reloading.Lock() // the new process reads the configuration itself
	defer s.reloading.Unlock()
	if err := handover.Accept(c, arg); err != nil {
		refuse(err)
		return
	}
	limits := handover.DefaultLimits
	limits.Pause += time.Duration(s.served.Miners()) * pausePerMiner
	report, err := handover.Give(ctx, c, outgoing{s.served.Outgoing(), s, pid}, limits)
	if err != nil {
		s.events.Say(event.Error, fmt.Sprintf("Handover to process %d failed, going on: %v", report.PID, s.withUnsaved(err)))
	} else {
		s.events.Say(event.Warning, fmt.Sprintf("Handed over to process %d after a pause of %v", report.PID, report.Pause.Round(100*time.Microsecond)))
	}
	select {
	case s.handovers <- outcome{report, err}:
	default: // nobody waits
	}
}

// outcome is what became of a handover.
type outcome struct {
	report handover.Report
	err    error
}

// errProcess1: whatever else runs in a container ends with its process 1. One
// that asks from outside has no process id here.
var errProcess1 = errors.New("this is process 1, with which its container ends: start the new version's container instead")

// allowed refuses others than root and the user of this process: what is given
// away, or run, is everything it has.
func allowed(c *net.UnixConn) (pid int, err error) {
	pid, uid, err := handover.Credentials(c)
	if err == nil && uid != 0 && int(uid) != os.Geteuid() {
		err = fmt.Errorf("only root and user %d may do that, you are user %d", os.Geteuid(), uid)
	}
	return pid, err
}

// Copy implements handover.Source.
func (o outgoing) Copy(ctx context.Context, first bool, send handover.Send) error {
	if first {
		if err := o.sendProcess(send); err != nil {
			return err
		}
	}
	return o.Source.Copy(ctx, first, send)
}

// sendProcess passes on the control sockets and the claim of their directory.
func (o outgoing) sendProcess(send handover.Send) error {
	files, err := o.s.control.Files()
	if err != nil {
		return err
	}
	var names []string
	for name, f := range files {
		defer f.Close()
		names = append(names, name)
	}
	slices.Sort(names)
	var fds []int
	for _, name := range names {
		fds = append(fds, handover.FD(files[name]))
	}
	record, err := json.Marshal(controlRecord{controlVersion, names})
	if err != nil {
		return err
	}
	if err := send(sectionControl, record, fds); err != nil {
		return err
	}
	return send(sectionLock, nil, []int{handover.FD(o.s.instance.Lock())})
}

// Freeze implements handover.Source. Commands wait until it is known which process they are
// for: figures would be those of before, and what they change would be lost.
func (o outgoing) Freeze(ctx context.Context) (time.Time, error) {
	o.s.control.Hold(ctx)
	since, err := o.Source.Freeze(ctx)
	if err != nil {
		o.s.control.Release()
	}
	return since, err
}

// Rest implements handover.Source.
func (o outgoing) Rest(send handover.Send) error {
	m := &o.s.manager
	r := processRecord{Version: processVersion, Notify: m.socket, Watchdog: m.watchdog.Microseconds()}
	if level := o.s.log.Level(); level != o.s.level {
		r.LogLevel = &level
	}
	record, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := send(sectionProcess, record, nil); err != nil {
		return err
	}
	return o.Source.Rest(send)
}

// Thaw implements handover.Source.
func (o outgoing) Thaw() {
	o.Source.Thaw()
	o.s.control.Release()
	if err := o.s.instance.SetPID(os.Getpid()); err != nil { // the new process may have written its id
		o.s.events.Say(event.Error, err.Error())
	}
}

// Leave implements handover.Source.
func (o outgoing) Leave() {
	o.s.moved.Store(true)
	if o.to != 0 {
		o.s.tell(o.s.manager.MainPID(o.to))
	}
	o.s.control.Leave()
	o.Source.Leave()
	o.s.shutdown()
}
