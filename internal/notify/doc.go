// Package notify tells people and programs elsewhere what happens in a pool: a block, a
// node that is down, a worker that is silent. It looks at the pool through the functions
// of a [View], decides what is news, and keeps each message in a file until its target
// has it. It knows neither miners nor nodes.
//
// What is told is derived from what is: from the table of blocks, the states of nodes, of
// disks and so on. A file says what was told of them, so that nothing is told twice and
// nothing left out, whatever ends in between. One process at a time has these files: they
// are under a lock, which the next one waits for.
//
// Names and texts that strangers have chosen are marked where they stand in a message, see
// [mark], and each service shows them as what they are: a name, never markup, a mention or
// a link.
package notify
