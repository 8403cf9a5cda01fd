// Package segment is how the files of a journal are made: segments with their names and
// headers, frames, and what is found of them in damaged files. Records are bytes here:
// package journal knows what they say, and package journalwriter writes them.
package segment
