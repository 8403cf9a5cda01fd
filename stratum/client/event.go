package client

import (
	"context"
	"time"

	"github.com/ckpool/ckpool/stratum"
)

// Event is what happened on a connection: one of Notify, Difficulty,
// VersionMask, Extranonce, Reconnect, Message and Closed, from a Keeper also
// Failed, and from a Group Active as well.
type Event interface{ event() }

// Notify is a job, with all that was in force when it came.
type Notify struct {
	stratum.Notify
	Extranonce  stratum.Extranonce // what its coinbase is completed with
	Difficulty  float64            // of its shares; 0 when the pool announced none yet
	VersionMask uint32             // bits that may be rolled
	client      *Client
}

// Submit sends a share of the job over the connection it came from; see
// Client.Submit.
func (n *Notify) Submit(ctx context.Context, s Share) (*stratum.Reject, error) {
	return n.client.Submit(ctx, n.JobID, s)
}

// Send sends a share of the job over the connection it came from; see Client.Send.
func (n *Notify) Send(s Share, verdict func(Verdict)) error {
	return n.client.Send(n.JobID, s, verdict)
}

// Difficulty is a mining.set_difficulty: it counts for the jobs that follow. Many
// pools judge shares of present jobs by it too when it is lower.
type Difficulty float64

// VersionMask is the set of version bits that may be rolled from the next job on, as
// mining.configure or mining.set_version_mask granted it.
type VersionMask uint32

// Extranonce comes with the subscription and with each mining.set_extranonce. It
// counts for the jobs that follow.
type Extranonce struct{ stratum.Extranonce }

// Reconnect is a client.reconnect. A Client leaves it to its user to follow, a
// Group follows it as Endpoint.Redirect and Options.IgnoreRedirects allow.
type Reconnect struct{ stratum.Reconnect }

// Message is a client.show_message, a text for people.
type Message string

// Closed is the last event of a connection, with the reason that it has ended for.
type Closed struct{ Err error }

// Active tells that a Group from now on takes its work from the endpoint with
// this index. What is in force there follows.
type Active struct {
	Endpoint int     // index in the list of NewGroup
	Client   *Client // the connection
}

// Failed tells that an endpoint of a Group, or that of a Keeper, could not be connected
// to, or was lost, and after what time it is tried again. The error names no address but
// one that the pool has asked to go to.
type Failed struct {
	Endpoint int           // index in a Group
	Err      error         // why
	Retry    time.Duration // until the next attempt
}

func (Notify) event()      {}
func (Difficulty) event()  {}
func (VersionMask) event() {}
func (Extranonce) event()  {}
func (Reconnect) event()   {}
func (Message) event()     {}
func (Closed) event()      {}
func (Active) event()      {}
func (Failed) event()      {}
