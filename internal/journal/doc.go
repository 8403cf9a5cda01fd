// Package journal keeps what a pool tells about money: each share, and what is
// needed to judge it again. A record is safe against the end of the process, however
// it ends, once [Writer.Flush] has returned, and against a power cut at most
// [Options].Sync later; no caller ever waits for a disk. DESIGN.md says how, and why
// so.
//
// A journal is a directory. One process writes it, through a [Writer]; any number of
// others read it, each with a [Reader] from a place of its own, and say how far they
// have come in a [Cursor] beside the data, behind which it is deleted.
//
// The package knows records, files and the ring in memory before them, and package
// work to check shares. It knows no session, user, pool or database: whose a share is
// and why it was refused are texts to it.
package journal
