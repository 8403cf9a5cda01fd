package handover

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
)

// Foreign is a running instance that passes on its listening sockets and
// nothing else: ckpool in C, or a version before this exchange.
type Foreign struct {
	Control *control.Client // of its listener socket
	Events  event.Func      // told what it answers
}

// replyTime is for each of its answers.
const replyTime = 5 * time.Second

// NewForeign is for the instance whose listener socket is at path.
func NewForeign(path string, events event.Func) *Foreign {
	return &Foreign{&control.Client{Path: path, ReplyTimeout: replyTime, BodyTimeout: replyTime}, events}
}

// Alive asks whether the instance answers.
func (f *Foreign) Alive(ctx context.Context) bool {
	if reply, err := f.Control.Do(ctx, "ping"); err != nil || reply == "" {
		f.Events.Say(event.Warning, "Received no response to ping request")
		return false
	}
	return true
}

// Sockets asks for up to count listening sockets, in the order of the
// configuration, until one is not given. The caller closes them.
func (f *Foreign) Sockets(ctx context.Context, count int) (files []*os.File) {
	for i := range count {
		file, err := f.Control.GetFD(ctx, i)
		if err != nil {
			break
		}
		files = append(files, file)
	}
	return files
}

// End makes the instance send its miners away and exit. The error is that of
// its last word; it may have gone without.
func (f *Foreign) End(ctx context.Context) error {
	var err error
	for _, request := range []string{"reject", "reconnect", "shutdown"} {
		var reply string
		reply, err = f.Control.Do(ctx, request)
		if err != nil {
			f.Events.Say(event.Warning, fmt.Sprintf("Received no response to %s request: %v", request, err))
			continue
		}
		f.Events.Say(event.Warning, fmt.Sprintf("Received: %s in response to %s request", reply, request))
	}
	return err
}
