// Package sharelog reads and writes the files a ckpool instance keeps under its
// log directory: share logs (<height>/<job id>.sharelog), the pool's statistics
// (pool/pool.status) and the statistics of users (users/<name>).
//
// The layouts are the ones tools around ckpool know: keys, their order,
// separators and number formats are kept to the byte. What these formats cannot
// hold exactly stands under additional keys named <key>_exact after the known
// ones; they win on reading, and files without them are read as well, so the
// files of every ckpool version since 2014 can be carried over.
//
// The package knows files only: no pool, no sessions, no clock. Difficulties
// are relative to difficulty 1 (target 0xffff·2^208), hash rates are hashes per
// second, times in files are unix seconds.
package sharelog
