package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/store/table"
)

// copy appends rows to a table with COPY, in the binary format of it. That costs the
// server a third of an insert with conflicts, and fails where a key is there.
func (x *tx) copy(ctx context.Context, columns []table.Column, into string, n int, rows table.Rows) error {
	data := append(make([]byte, 0, 32+n*16*len(columns)), "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	for i := range n {
		data = binary.BigEndian.AppendUint16(data, uint16(len(rows)))
		for _, column := range rows {
			switch v := column.(type) {
			case []int64:
				data = binary.BigEndian.AppendUint64(append(data, 0, 0, 0, 8), uint64(v[i]))
			case []string:
				data = append(binary.BigEndian.AppendUint32(data, uint32(len(v[i]))), v[i]...)
			case [][]byte:
				data = append(binary.BigEndian.AppendUint32(data, uint32(len(v[i]))), v[i]...)
			case []difficulty.Exact:
				data = appendNumeric(data, v[i])
			}
		}
	}
	data = append(data, 0xff, 0xff)
	return x.conn.Raw(func(c any) error {
		_, err := c.(*stdlib.Conn).Conn().PgConn().CopyFrom(ctx, bytes.NewReader(data),
			fmt.Sprintf("copy %s (%s) from stdin (format binary)", into, table.Names(columns)))
		return err
	})
}

// appendNumeric appends an amount as a field of type numeric: its length, then
// 16-bit words, which are how many digits follow, of which weight the first is, the
// sign, the decimal places, and digits to base 10,000.
func appendNumeric(data []byte, x difficulty.Exact) []byte {
	const base, places = 10_000, 12 // 3 digits stand after the point
	var digits [10]uint16           // 2¹²⁸ has 39 decimals
	first := len(digits)
	for high, low := x.Units(); high|low != 0; {
		var rem uint64
		high, rem = high/base, high%base
		low, rem = bits.Div64(rem, low, base)
		first--
		digits[first] = uint16(rem)
	}
	n := len(digits) - first
	data = binary.BigEndian.AppendUint32(data, uint32(8+2*n))
	for _, v := range [...]uint16{uint16(n), uint16(n - 1 - places/4), 0, places} {
		data = binary.BigEndian.AppendUint16(data, v)
	}
	for _, v := range digits[first:] {
		data = binary.BigEndian.AppendUint16(data, v)
	}
	return data
}
