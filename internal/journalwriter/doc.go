// Package journalwriter writes the journal of a pool, which package journal reads: each
// share, and what is needed to judge it again. A record is safe against the end of the process,
// however it ends, once [Writer.Flush] has returned, and against a power cut at most
// [Options].Sync later; no caller ever waits for a disk. DESIGN.md says how, and why
// so.
//
// One process writes a journal, through a [Writer]. A journal of another pool is copied
// with a [Tail] there and a [Mirror] here. What all readers have read is deleted.
//
// The package knows records, files and the ring in memory before them. It knows no session,
// user, pool or database: whose a share is and why it was refused are texts to it.
package journalwriter
