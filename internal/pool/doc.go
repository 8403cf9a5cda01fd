// Package pool is the pool itself: users and workers, work, shares, blocks and
// statistics. To sessions it is their Backend; it knows neither sockets nor
// stratum lines, and never imports what stores shares for payment.
//
// [State] is the half that counts: who logs in, what every share is worth to
// whom, and the files and answers that show it. Its hot path, [State.Share],
// takes no lock but that of the share's worker and user, and allocates nothing.
// Lock order: shard, user or worker, one of the last two at a time.
package pool
