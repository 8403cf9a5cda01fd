// Package journal reads the journal of a pool: each share that was submitted, and what is
// needed to judge it again.
//
// A journal is a directory. The pool writes it, and any number of programs read it
// meanwhile, each from a place of its own: none of them can make the pool wait. ckpool
// writes one where its configuration says so ("journal"), a trusted remote's is copied to its
// main pool.
//
// # Reading
//
// [Open] gives a [Reader]. [Reader.Read] is the next [Record], or io.EOF where there is no more
// at present; [Reader.Next] waits for one, so that a program follows a pool that runs:
//
//	r, err := journal.Open("/var/log/ckpool/journal", journal.Cursor{})
//	if err != nil {
//		return err
//	}
//	defer r.Close()
//	for {
//		k, err := r.Next(ctx)
//		if err != nil {
//			return err
//		}
//		if k.Kind == journal.KindShare {
//			fmt.Println(k.Miner.Worker, k.Share.Credit, k.Reason)
//		}
//	}
//
// Records have a [Position] that only grows. [Reader.Cursor] is where the reader has come: kept
// beside what was made of the records, in one transaction, each record counts once whatever ends
// in between, and Open goes on after it. What cannot be read, in a file that is damaged or was
// deleted, is told by a record of [KindMissing] in its place, and never guessed.
//
// The pool deletes files that are read by all who have left a cursor in the directory with
// [WriteCursor], and the oldest ones where the journal gets too large, read or not.
//
// # Judging again
//
// A [Record] of a share has all that its block header is made of. [Checker] computes the hash
// and compares it with what the share has earned; [Check] does that with a whole journal. Whose a
// share is and why it was refused are texts: the package knows no user and no database.
//
// # Files
//
// Segments are called EPOCH-FIRST.journal, in hex: an epoch is a life of the pool, first is the
// number of the first record. Each begins with a [Header] and can be read alone. Later
// releases read what this one writes; what this one cannot read, since a later one wrote it,
// is refused with [ErrLater].
package journal
