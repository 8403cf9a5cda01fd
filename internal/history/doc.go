// Package history keeps figures over time, for curves: those of the pool, and the
// hash rates of users and workers. They are in files of a fixed greatest size, and
// nothing but names is in memory.
//
// A file is a table: a row for each series, a column for each period, for several
// lengths of periods. A period is written with one write for all series, which is
// why values of a period, not those of a series, stand together: tens of thousands
// of series would else change as many pages of the disk. What was not written reads
// as NaN: a gap is never zero. The value of a longer period is the mean of the
// shorter ones in it that have any, made of the file each time one is written, so
// that nothing is lost with the process.
package history
