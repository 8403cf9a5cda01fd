// Package bitcoind talks to bitcoin nodes over JSON-RPC and ZMQ: a client for
// one node, and a group of nodes with failover that watches for new tips,
// delivers block templates and submits solved blocks to every node at once.
//
// A program that asks one node this and that makes a [Client] with [NewClient]; it
// has methods for what pools ask, and [Client.Call] for all else. A program that mines
// makes a [Group] with [NewGroup], runs it on a goroutine of its own with [Group.Run],
// takes work from [Group.Templates], and gives blocks to [Group.Submit], which stays
// with them until the chain has decided.
//
// Bitcoin Core 25 and later and btcd are supported. The package never logs and
// knows no miner: what an operator should know comes through Options.Events.
//
// Hashes are [32]byte in internal byte order, as double SHA-256 yields them;
// nodes print them reversed.
package bitcoind

import (
	"time"

	"github.com/ckpool/ckpool/event"
)

// Config is one node.
type Config struct {
	// URL is host:port. A scheme is optional: https uses TLS with the system's
	// certificates, anything else is plain HTTP. Without a port it is 443 for
	// https, 80 for an explicit http, and 8332 where no scheme is given. A
	// path is kept, user:password@ serve where User and Pass are empty.
	URL        string
	User, Pass string // rpcuser and rpcpassword, or the plain pair of an rpcauth line
	// Cookie is the node's cookie file, or the directory it is in (on main the
	// data directory). It wins over User and Pass while it can be read, and is
	// read again when it changes and when the node answers 401.
	Cookie string
	Notify bool     // the node announces blocks in another way: poll every 5 s only
	ZMQ    []string // publishers of hashblock: tcp://host:port or ipc:///path
}

// Options of clients and groups; zero values mean the defaults.
type Options struct {
	TemplateTimeout, SubmitTimeout, Timeout time.Duration // 20 s, 60 s, 10 s
	ProbeTimeout                            time.Duration // 2 s, for all that Probe asks
	BlockPoll                               time.Duration // 100 ms
	SaveDir                                 string        // where undecided blocks are kept; "": nowhere
	Events                                  event.Func    // is told what an operator should know; nil: nobody
	// Fits says why the caller cannot mine on a chain, named as Bitcoin Core
	// does. It must neither block nor call the group. nil: on the chain of the first node
	// that answers.
	Fits func(chain string) error
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		set *time.Duration
		to  time.Duration
	}{
		{&o.TemplateTimeout, 20 * time.Second},
		{&o.SubmitTimeout, 60 * time.Second},
		{&o.Timeout, 10 * time.Second},
		{&o.ProbeTimeout, 2 * time.Second},
		{&o.BlockPoll, 100 * time.Millisecond},
	} {
		if *d.set <= 0 {
			*d.set = d.to
		}
	}
	return o
}
