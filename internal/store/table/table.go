// Package table says of the store's tables what their columns are and how a row
// is put together with one of the same key, for the databases that write them.
package table

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/ckpool/ckpool/difficulty"
)

// Kind is what a column holds, and of which type its values are in [Rows].
type Kind uint8

// Kinds.
const (
	Integer Kind = iota // int64
	Text                // string
	Bytes               // []byte
	Exact               // difficulty.Exact, which can be summed
	Peak                // difficulty.Exact, of which there is only the greatest
)

// Merge is what becomes of a column where a row of the same key is there already.
type Merge uint8

// Merges.
const (
	Keep     Merge = iota // it stays as it is
	Key                   // it is part of the key
	Mark                  // it stays, and tells who wrote the row
	Add                   // the sum
	First                 // the smaller one; 0 is none
	Greatest              // the greater one
)

// Column of a table.
type Column struct {
	Name  string
	Kind  Kind
	Merge Merge
}

// Table is a table's name and the columns that rows are written with.
type Table struct {
	Name    string
	Columns []Column
}

// Keys are the names of the columns of the key.
func (t *Table) Keys() (names []string) {
	for _, c := range t.Columns {
		if c.Merge == Key {
			names = append(names, c.Name)
		}
	}
	return names
}

// Sums are the columns that are more than a key.
func (t *Table) Sums() (columns []Column) {
	for _, c := range t.Columns {
		if c.Merge == Add || c.Merge == First || c.Merge == Greatest {
			columns = append(columns, c)
		}
	}
	return columns
}

// Rows are rows by columns: one slice per column, of its kind, all of one length.
type Rows []any

// Tx is a transaction, or a snapshot that is read. Queries have $1, $2 for values,
// in both databases.
type Tx interface {
	Exec(ctx context.Context, query string, args ...any) (int64, error)
	Query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	// Merge writes rows into a table, that is t or one like it, and tells how many
	// rows were written.
	Merge(ctx context.Context, t *Table, into string, n int, rows Rows) (int64, error)
	// Insert writes the rows whose keys are not there yet, and tells which those are.
	Insert(ctx context.Context, t *Table, into string, n int, rows Rows) (added []bool, err error)
	// Find is the column id of the rows with the keys, 0 where there is none. The
	// rows are of the key columns alone.
	Find(ctx context.Context, t *Table, n int, keys Rows) ([]int64, error)
	// Fold merges into a table what is selected from another, summed by its keys:
	// by is their expressions, from what follows the word from.
	Fold(ctx context.Context, t *Table, by []string, from string, args ...any) (int64, error)
}

// Database is what the store wants of one.
type Database interface {
	// Write runs f in a transaction and commits it. Whether it was committed is not
	// known where Unknown says so of the error.
	Write(ctx context.Context, f func(Tx) error) error
	// Read runs f on one snapshot.
	Read(ctx context.Context, f func(Tx) error) error
	// Again reports an error of a transaction that failed for another's sake, and is
	// run again.
	Again(err error) bool
	// Unknown reports that the answer to a commit was lost.
	Unknown(err error) bool

	// Split makes the table of one part of a table that is kept in parts, if it is
	// not there: rows whose key begins with from until before to.
	Split(ctx context.Context, t *Table, part string, from, to int64) error
	// Drop drops such a part; who reads it is waited for, and nobody waits meanwhile.
	Drop(ctx context.Context, t *Table, part string) error

	// In is the condition that an integer is one of parameter n, which List makes.
	In(n int) string
	List(values []int64) any
	// Lock is what follows a select whose rows are to be changed.
	Lock() string
	// Sum is the expression for a column of rows summed up as t says, to be read
	// with [Scan]; Same that for one row.
	Sum(c Column) string
	Same(c Column) string
	// Equal are expressions that are equal where a column is, summed or not.
	Equal(c Column, summed bool) []string
	// Warnings are lines about the database that the operator should read.
	Warnings(ctx context.Context) ([]string, error)

	Close() error
}

// Amount reads an Exact or Peak of [Database.Sum].
type Amount struct{ To *difficulty.Exact }

// Scan is that of sql.Scanner.
func (a Amount) Scan(src any) (err error) {
	switch v := src.(type) {
	case nil:
		*a.To = difficulty.Exact{}
	case string:
		*a.To, err = difficulty.ParseExact(v)
	case []byte:
		err = a.To.UnmarshalBinary(v)
	default:
		err = fmt.Errorf("%T is no amount", src)
	}
	return err
}

// Names are the names of columns, for a statement.
func Names(columns []Column) string {
	var b strings.Builder
	for i, c := range columns {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(c.Name)
	}
	return b.String()
}

// Filled leaves out the columns of sums that are 0 in all rows: that is their
// default, and most batches have no share of most sorts.
func Filled(columns []Column, rows Rows) (filled []Column, parts Rows) {
	for i, c := range columns {
		empty := false
		if c.Merge == Add || c.Merge == First || c.Merge == Greatest {
			switch v := rows[i].(type) {
			case []int64:
				empty = !slices.ContainsFunc(v, func(n int64) bool { return n != 0 })
			case []difficulty.Exact:
				empty = !slices.ContainsFunc(v, func(x difficulty.Exact) bool { return !x.IsZero() })
			}
		}
		if !empty {
			filled, parts = append(filled, c), append(parts, rows[i])
		}
	}
	return filled, parts
}
