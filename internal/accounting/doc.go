// Package accounting makes rows of what pools tell in their journals. A Follower
// reads one journal and stores each record once, however often it, the pool or the
// database is stopped. It knows records and rows, and neither pools nor miners'
// connections; it does no arithmetic that the store does. A Chain follows the chain of
// a node for the store, which says what becomes of the pool's blocks and their money.
package accounting
