/*
Package reference reads what pools with the reference's database kept, for those
that come from there: their hourly request logs, which have every share, and the
database itself, which has only sums.

A request log has a line for each request that the pool sent to its database:

	command.id.json={"name":value,...}
	command.id.name=value TAB name=value ...

An [Import] makes rows of it for package store. A share is told by its header's
hash, so that one which the database has already, from a journal or another import,
is not credited again. What cannot be understood is told with its file and line and
left out; nothing is guessed.
*/
package reference
