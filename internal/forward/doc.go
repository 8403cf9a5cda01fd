/*
Package forward brings what pools tell in their journals to an accounting database
elsewhere, over NATS JetStream.

A [Forwarder] beside a pool reads its journal as ckdb does, and publishes the batches
that ckdb would store into a stream of the pool's instance. A [Receiver] beside the
database gives each to the store, in order. The journal is the source and the
database is the truth; the stream between them is only a way:

  - The forwarder asks the receiver each half second where the database is. What the
    database has committed, and nothing else, moves the forwarder's cursor in the
    journal. That the broker has acknowledged a batch moves nothing.
  - The receiver keeps no state of its own in the broker. It reads the stream from its
    first message and purges what it has dealt with. The store takes a batch only
    where the database stands right before it, so one that comes again changes
    nothing. Neighbours are stored in one transaction, as one batch; where the
    database is not right before the first, each goes its own way.
  - Where the journal's directory was put back from an older copy, its epochs tell the
    receiver, whose database says where both part: see [store.Store.Begin]. A batch of
    the records before begins where the database is no more, and is dropped.
  - What the stream has lost is noticed by the receiver, to which a batch comes that
    does not begin where the database is, or by the forwarder, when the stream is
    emptier than it should be and the database does not come on. The forwarder then
    reads the journal again from where the database is and publishes anew.

Each such beginning is a generation, a random number in its batches: the receiver
names the generation in which it has found a hole, and a forwarder that has begun
anew since then does not begin anew again for it. The ids by which JetStream drops
repeated messages have it in them too: they are for the same message published twice
because an acknowledgement was lost, not for one that is published again because the
first was lost.

Subjects, ID being the instance's in hexadecimal: ckpool.ID.batch are the messages of
the stream ckpool_ID, ckpool.ID.ask the questions, which are answered by who has the
database. The form of both has a version; a later one is refused by its number, and
nothing is changed.
*/
package forward
