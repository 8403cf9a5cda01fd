// Package users is the users and workers of a pool: who logs in, what every share
// is worth to whom, and the files that show it. It knows neither jobs nor blocks,
// and never imports what stores shares for payment.
//
// The hot path, [Users.Share], takes no lock but that of the share's worker and
// user, and allocates nothing. Lock order: shard, user or worker, one of the last
// two at a time.
package users
