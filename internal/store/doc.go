/*
Package store keeps what pools did in a database: shares, each once, the sums of
them, jobs, shifts, blocks, whose money they are, and how far each pool's journal was read.

It has two backends that do the same, package postgres and sqlite, and knows rows,
not journals: who reads a journal makes a [Batch] of its records and gives it to
[Store.Apply], which stores it, the sums and the new [Position] in one transaction.
A batch is stored whole and once or not at all, whatever breaks in between.

# Shares

A share is told from all others by its header's hash, stored as the header's time
and 16 bytes of the hash. The header commits to job, extranonces, time, nonce and
version: the same work has the same identity on whatever instance, after whatever
crash, from whatever import. It is credited the first time; later it only counts as
repeated. Shares are kept in one table per day of the header's time. Days are dropped
by [Store.Retain]; a share of a dropped day cannot be told from one that was credited,
and is refused as expired.

# Sums

Sums count shares by the hour they were received in, of the pool's clock, by job and,
since money is made of them, by the scheme they earn in.
They do not depend on the order of shares and are exact ([difficulty.Exact]). A batch
appends its sums to table pending, in the transaction of its shares; when there are
many they are folded into the tables that are kept for ever: per job, per shift, hour
and day of each worker, per hour and day of each user agent. So rows of workers are
written once a minute and not once a batch. Sums per job are only ever appended to:
a job whose time spans several folds has a row of each. When the shares of a day are
dropped, those of jobs that nothing tells apart any more are joined. Everything that reads sums adds what is
pending. [Store.Check] computes them anew from the shares.

# Shifts

The jobs of an instance, in the order of its journal, are cut into shifts: after 100
jobs, after a job in which a block was found, before other bits, a halving, or another
epoch of the journal. That depends on jobs and blocks alone: a block found late on an
older job moves the jobs after it, with their sums.

# Places

Where the shares of a job stand in the order that rewards are computed in is in table
places, since shares are acknowledged and paid also where the record of their job was lost:
these stand at the height of the last job before them that their pool told of. A job whose
coinbase another pool has made has no place: shares of it earn at that pool. A place also
tells after which transaction of the ledger it came, and a reward is computed, then and
ever after, of places alone that came before it: what comes later at a height that was
rewarded, as a node steps back or a pool was taken for gone, counts in later rewards. Where
shares of a job come on both sides of a reward, those that came after it are in table
late_shares too, one by one.

# Money

The ledger has double entries in satoshis: each transaction sums to zero, is posted once
by its kind and reference, and is never changed; the database itself refuses others. What
a book has is summed up anew whenever it is asked for. Settings hold from a time and a
height on and are only added to, like the audit log.

A follower of a node tells what the chain is ([Store.Follow], [Store.Advance]); the state
of the pool's blocks comes of that alone, not of what pools say of them. [Store.Settle]
posts what is due of each block: its reward, computed by package rewards when no further
share of its window can come; its maturity; its reversal where it is orphaned, and again
what was taken back where the chain comes back. A coinbase that pays the pool and that
no pool told of is held until a person books it. Which outputs of a coinbase were the
pool's is kept with its block, as an address that a miner had may be a pool's later.

Nothing is ordered by an id that the database gave. Times are microseconds since 1970.
*/
package store
