package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/handover"
	"github.com/ckpool/ckpool/internal/instance"
	"github.com/ckpool/ckpool/internal/operator"
	"github.com/ckpool/ckpool/internal/pool"
)

// takeOverTime bounds all of a handover, so that a process that cannot take
// over ends while the old one still waits for it.
const takeOverTime = 30 * time.Second

// handoverStep is called with the name of each step done; tests set it to make
// the process fail there.
var handoverStep func(name string)

// incoming is an instance that takes over from another process; it is a
// handover.Sink.
type incoming struct {
	handover.Incoming
	s *service
}

// takeOver makes the service the successor of a running instance. Without an
// error, and with true, it serves as soon as it is run; false means that there is
// no instance, or no more.
func (s *service) takeOver(ctx context.Context, c config.Config) (done bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, takeOverTime, errors.New("the handover takes too long"))
	defer cancel()
	path := filepath.Join(s.options.SockDir, operator.Sockets[0])
	link, err := handover.Dial(ctx, path, handoverStep)
	if errors.Is(err, handover.ErrSilent) && handover.NewForeign(path, s.events).Alive(ctx) { // it was busy, such as with another handover
		link, err = handover.Dial(ctx, path, handoverStep)
	}
	switch {
	case errors.Is(err, handover.ErrNobody), errors.Is(err, handover.ErrSilent):
		return false, nil
	case errors.Is(err, handover.ErrForeign):
		return s.replace(ctx, c)
	case err != nil:
		return false, fmt.Errorf("handover: %w", err)
	}
	if err := s.receive(ctx, c, link); err != nil {
		if link.Gone(err) {
			s.events.Say(event.Error, fmt.Sprintf("Handover failed, starting without: process %d died: %v", link.Hello().PID, err))
			link.Close()
			return false, nil
		}
		link.Refuse(err)
		link.Close()
		return false, fmt.Errorf("handover: %w", err)
	}
	s.old = link
	return true, nil
}

func (s *service) receive(ctx context.Context, c config.Config, link *handover.Link) error {
	began := time.Now()
	s.events.Say(event.Notice, fmt.Sprintf("Taking over from process %d, version %s", link.Hello().PID, link.Hello().Program))
	if pool.WithCkdb(link.Hello().Instance) && !s.options.Standalone {
		s.options.WithCkdb = true
	}
	if err := s.prepare(c, true); err != nil {
		return err
	}
	in, err := s.served.Incoming(link.Hello().Instance, func() error { return s.served.Listen(ctx) })
	if err != nil {
		s.control.Leave()
		s.close()
		return err
	}
	if err = link.Take(ctx, incoming{in, s}); err == nil {
		err = s.start(link)
	}
	if err != nil {
		in.Abandon()
		if s.instance != nil {
			s.instance.Return()
			s.instance = nil
		}
		s.control.Leave()
		s.close()
		return err
	}
	s.log.Reopen() // it may have been renamed meanwhile, which the other process was told of
	s.events.Say(event.Warning, fmt.Sprintf("Took over %d miners from process %d in %v", in.Miners(), link.Hello().PID, time.Since(began).Round(time.Millisecond)))
	return nil
}

// start makes this process the owner of the instance.
func (s *service) start(link *handover.Link) error {
	if err := s.instance.SetPID(os.Getpid()); err != nil {
		return err
	}
	err := link.Start()
	if err != nil { // the old process goes on
		err = errors.Join(err, s.instance.SetPID(link.Hello().PID))
	}
	return err
}

// partTime is for the old process to tell the service manager of this one.
const partTime = 2 * time.Second

// part waits until the process taken over from, if any, has done its last.
func part(ctx context.Context, from *handover.Link) {
	if from == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, partTime)
	defer cancel()
	from.AwaitClose(ctx)
	from.Close()
}

// Section implements handover.Sink.
func (i incoming) Section(kind handover.Kind, data []byte, fds []int) error {
	if kind < handover.SectionsOfProcess {
		return i.Incoming.Section(kind, data, fds)
	}
	var files []*os.File
	for _, fd := range fds {
		files = append(files, os.NewFile(uintptr(fd), "received"))
	}
	err := i.process(kind, data, files)
	if err != nil {
		for _, f := range files {
			f.Close()
		}
	}
	return err
}

func (i incoming) process(kind handover.Kind, data []byte, files []*os.File) error {
	switch kind {
	case sectionControl:
		names, err := readControl(data)
		if err == nil && len(names) != len(files) {
			err = fmt.Errorf("%d control sockets with %d names", len(files), len(names))
		}
		if err != nil {
			return err
		}
		for n, name := range names {
			i.s.control.Inherit(name, files[n])
		}
		return nil
	case sectionLock:
		if len(files) != 1 {
			return errors.New("no claim of the socket directory")
		}
		i.s.instance = instance.Inherit(i.s.options.SockDir, files[0])
		return nil
	case sectionProcess:
		r, err := readProcess(data)
		if err != nil {
			return err
		}
		if r.LogLevel != nil {
			i.s.log.SetLevel(*r.LogLevel)
		}
		i.s.tell(i.s.manager.adopt(r.Notify, time.Duration(r.Watchdog)*time.Microsecond))
		return nil
	}
	for _, f := range files {
		f.Close()
	}
	return handover.Unknown(kind)
}

// Complete implements handover.Sink.
func (i incoming) Complete() error {
	if i.s.instance == nil {
		return errors.New("no claim of the socket directory")
	}
	if err := i.Incoming.Complete(); err != nil {
		return err
	}
	return i.s.control.Listen()
}
