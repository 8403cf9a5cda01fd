/*
Package remote is both ends of what a trusted remote and its main pool say to each other.
A trusted remote is a whole pool elsewhere, with nodes and share checks of its own, whose
users are those of the main pool: that says who may mine, counts the shares, and pays.

Shares travel as the journal that the remote keeps anyway. A [Reporter] at the remote sends
the bytes of its files as they become safe there, and a [Collector] at the main pool
appends them to a copy, makes that safe and says so. The remote deletes nothing before.
Both find where to go on in the bytes that are there, so that each record is at the main
pool once, whichever of both ends when. The copy is a journal of its own beside that of the
main pool: ckdb reads it as such, with the remote's jobs under their own ids, and computes
each share anew. The Collector reads it too, for the main pool's statistics, where a share
counts whose hash is right and reaches what it earns.

Who may mine is asked in the protocol of package authority, which the link carries: the
remote is to the main pool's ckdb another pool that asks, with what that keeps for the time
when nobody answers, and hears of locks and passwords at once. A main pool without ckdb
answers itself.

A block that is found at either end goes to the other whole, before it is submitted
locally, and the main pool brings it to its other remotes.
*/
package remote
