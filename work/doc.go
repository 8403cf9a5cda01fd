// Package work turns a block template into a job for miners, computes shares
// of it and assembles blocks: coinbase, merkle branch, header.
//
// A node's answer becomes a [Template], or one is made by hand of [Parts]. A
// [Builder] makes a [Job] of it, whose [Coinbase], branch and header fields miners
// are sent. Every [Solution] a [Miner] submits is computed with [Job.Hash]. A share
// that solves a block is turned into the bytes for submitblock with [Job.Block].
// The package knows no protocol between pool and miner.
//
// The package does no I/O, starts no goroutine and reads no clock: time comes
// in as an argument. It knows no connection, session, user or node, and it
// judges no share by a session's difficulty; it only says which hash a share
// has and whether that hash meets the target of its job.
//
// Hashes of type [32]byte are in internal order, as double SHA-256 yields them
// and as they stand in headers and transactions; [FormatHash] gives the form that
// people know. Amounts are satoshis.
package work
