// Package pool is a whole Bitcoin mining pool as a part of another program: miners connect
// to it over stratum, it gives them work of bitcoin nodes, of other pools or of a source of
// the caller's own, judges their shares, and brings the blocks they find to the network. It is
// what the program ckpool is made of.
//
// A pool is made with [New] from three things:
//
//   - a [Config]: where miners connect to, whom blocks pay, where its files are;
//   - a [Source]: where work comes from and blocks go to, from [Nodes], [Upstreams] or [From];
//   - [Hooks]: functions that are told of shares, blocks and work, and asked about logins.
//
// [Pool.Run] then serves until its context ends.
//
//	p, err := pool.New(
//		pool.Config{
//			Dir:    "/var/lib/mypool",
//			Payees: []pool.Payee{{Address: ours, Share: 1}, {Address: theirs, Share: 1}},
//		},
//		pool.Nodes(bitcoind.Config{URL: "127.0.0.1:8332", Cookie: "/home/bitcoin/.bitcoin"}),
//		pool.Hooks{Share: func(s pool.Share) { log.Print(s.Worker, s.Difficulty, s.Reason) }},
//	)
//	if err == nil {
//		err = p.Run(ctx)
//	}
//
// # Whom blocks pay
//
// The coinbase of each block pays [Config].Payees, each its share, to the satoshi. One of
// them may be the [Finder]: then miners log in with their own addresses (solo mining). What
// is to be divided among many miners is paid later, by who adds up what [Share].Credit the
// hook for shares was told.
//
// # Blocks and shares
//
// With Nodes a found block goes to all nodes at once and to a file beside that, and is
// submitted again until one has it in its chain, also by a later run with the same Dir. A
// share is answered on the goroutine that read it. Its hook runs there too, before the miner
// has the answer: a hook that blocks holds up a whole processor's miners.
//
// # What a pool does not do
//
// It handles no signals, changes no limits of the process, reads no environment, sets no
// flags, and collects no garbage. It holds no state of the package: any number of pools run
// in one process without knowing of each other, each with a Dir, addresses and a MaxClients
// of its own. When Run has returned nothing of the pool is left but its files. It runs on
// Linux, by epoll.
//
// Who connects from loopback or a private address may bring many miners over one connection, as
// a passthrough of ckpool does, and says himself where they come from: a proxy that hides the
// miners' own addresses makes everybody one of these.
//
// Hashes are [32]byte in internal byte order, as double SHA-256 yields them; the function
// FormatHash of package work prints them as explorers do. Amounts are satoshis.
package pool
