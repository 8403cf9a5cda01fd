// Package handover moves a running instance into a new process: the protocol
// between the two, who may go on when one of them fails, and the older exchange
// of listening sockets alone. What is moved it does not look into: that is for
// the owners of the state, as sections of bytes and descriptors.
//
// The new process connects to the control socket of the old one and sends the
// command "handover" with the newest format it reads. Once the old one has
// agreed, both speak in frames over the same connection:
//
//	old                                  new
//	hello ───────────────────────────▶   may refuse
//	sections (copy while serving) ───▶
//	mark ────────────────────────────▶
//	          ◀──────────── marked       has what came before, and is ready to serve
//	(copies of what changed, marks, until there is little)
//	stands still
//	sections (the rest, connections) ▶
//	end ─────────────────────────────▶
//	          ◀────────────── have       has everything
//	yours ───────────────────────────▶
//	          ◀─────────── running       serves
//	ends
//
// The old process owns the instance until it has read running, the new one from
// the moment its sending running succeeded; the old one makes sure that not both
// can happen. Before that, whatever fails makes the old process go on and the
// new one end. A new process that has everything also goes on when the old one
// is gone without a word; one that has not ([Link.Gone]) may start by itself, and
// the miners connect again.
package handover
