package rewards

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"

	"github.com/ckpool/ckpool/difficulty"
)

// The file has one JSON object in each line, with one member that says what it is:
//
//	header    format and version, block, parameters: the first line
//	instance  gives an instance the number that other lines have of it
//	account   gives an account its number, and tells its fee
//	sums      of one height and instance: pairs of account and work. Heights go down,
//	          at one height instances go up by id, and accounts by kind and name
//	shares    at the last of these heights, if the window begins inside of it: triples of
//	          instance, account and work, in the order of shares, the oldest first
//	window    the result: see Window, Division and Credit
//	division
//	credit    one of each account that has work, by kind and name
//	end       how many lines there are before: the last line
//
// Amounts of satoshis are integers, amounts of work are decimals in strings. Lists of
// more than perLine elements are continued in a line of their own.
const (
	format  = "ckpool reward"
	version = 1
	perLine = 1000
	maxLine = 1 << 18
)

type headerLine struct {
	Header struct {
		Format     string     `json:"format"`
		Version    int        `json:"version"`
		Block      Block      `json:"block"`
		Parameters Parameters `json:"parameters"`
	} `json:"header"`
}

type instanceLine struct {
	Instance struct {
		Number int      `json:"number"`
		ID     Instance `json:"id"`
	} `json:"instance"`
}

type accountLine struct {
	Account struct {
		Number int `json:"number"`
		Account
		Fee int64 `json:"fee"`
	} `json:"account"`
}

type windowLine struct {
	Window Window `json:"window"`
}

type divisionLine struct {
	Division struct {
		Value   int64  `json:"value"`
		Direct  int64  `json:"direct"`
		Fee     int64  `json:"fee"`
		Divided int64  `json:"divided"`
		Weights string `json:"weights"`
		Left    int64  `json:"left"`
	} `json:"division"`
}

type creditLine struct {
	Credit struct {
		Account
		Work      difficulty.Exact `json:"work"`
		Fee       int64            `json:"fee"`
		Weight    string           `json:"weight"`
		Whole     int64            `json:"whole"`
		Remainder string           `json:"remainder"`
		Rank      int              `json:"rank"`
		Amount    int64            `json:"amount"`
	} `json:"credit"`
}

type endLine struct {
	End struct {
		Lines int64 `json:"lines"`
	} `json:"end"`
}

// Export computes a reward and writes all of its inputs, and it, to a file, which
// Verify reads. After an error the file is of no use.
func Export(ctx context.Context, to io.Writer, b Block, p Parameters, s Source) (*Reward, error) {
	w := &writer{to: bufio.NewWriterSize(to, 1<<16), instances: make(map[Instance]int)}
	if err := w.line(header(b, p)); err != nil {
		return nil, err
	}
	r, err := compute(ctx, b, p, s, w)
	if err != nil {
		return nil, err
	}
	if p.Scheme == Solo {
		err = w.define(0, b.Finder, p.fee(b.Finder))
	} else {
		err = w.flush()
	}
	if err != nil {
		return nil, err
	}
	for line := range r.lines {
		if err := w.line(line); err != nil {
			return nil, err
		}
	}
	if err := w.line(end(w.lines)); err != nil {
		return nil, err
	}
	return r, w.to.Flush()
}

func header(b Block, p Parameters) (l headerLine) {
	l.Header.Format, l.Header.Version, l.Header.Block, l.Header.Parameters = format, version, b, p
	return l
}

func end(lines int64) (l endLine) {
	l.End.Lines = lines
	return l
}

// lines of the result.
func (r *Reward) lines(yield func(any) bool) {
	if !yield(windowLine{r.Window}) {
		return
	}
	var d divisionLine
	d.Division.Value, d.Division.Direct, d.Division.Fee, d.Division.Divided = r.Block.Value, r.Block.Direct, r.Fee, r.Divided
	d.Division.Weights, d.Division.Left = Fraction(r.Weights), r.Left
	if !yield(d) {
		return
	}
	for i := range r.Credits {
		c := &r.Credits[i]
		var l creditLine
		l.Credit.Account, l.Credit.Work, l.Credit.Fee, l.Credit.Weight, l.Credit.Whole = c.Account, c.Work, c.Fee, Fraction(c.Weight), c.Whole
		l.Credit.Remainder, l.Credit.Rank, l.Credit.Amount = Fraction(c.Remainder), c.Rank, c.Amount
		if !yield(l) {
			return
		}
	}
}

// Fraction is a weight, or a remainder over the sum of weights, in units of 10⁻¹⁸, as
// the decimal of work × part of the whole that is not fee.
func Fraction(units *big.Int) string {
	const places = 18
	s := units.String()
	if len(s) <= places {
		s = string(bytes.Repeat([]byte("0"), places+1-len(s))) + s
	}
	whole, part := s[:len(s)-places], bytes.TrimRight([]byte(s[len(s)-places:]), "0")
	if len(part) == 0 {
		return whole
	}
	return whole + "." + string(part)
}

// writer writes a file.
type writer struct {
	to        *bufio.Writer
	lines     int64
	instances map[Instance]int // numbers in the file, from 1
	accounts  []int            // likewise, by number of the window; 0: none yet
	defined   int              // accounts
	list      list
}

func (w *writer) line(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.text(text)
}

func (w *writer) text(line []byte) error {
	w.lines++
	if _, err := w.to.Write(line); err != nil {
		return err
	}
	return w.to.WriteByte('\n')
}

func (w *writer) define(n int, a Account, fee int64) error {
	if n >= len(w.accounts) {
		w.accounts = append(w.accounts, make([]int, n+1-len(w.accounts))...)
	}
	if w.accounts[n] != 0 {
		return nil
	}
	w.defined++
	w.accounts[n] = w.defined
	var l accountLine
	l.Account.Number, l.Account.Account, l.Account.Fee = w.defined, a, fee
	return w.line(l)
}

// level writes the sums of a height that is complete.
func (w *writer) level(of *window, l *level) error {
	for _, i := range l.instances {
		if i.work.IsZero() {
			continue
		}
		number, ok := w.instances[i.id]
		if !ok {
			number = len(w.instances) + 1
			w.instances[i.id] = number
			var line instanceLine
			line.Instance.Number, line.Instance.ID = number, i.id
			if err := w.line(line); err != nil {
				return err
			}
		}
		slices.SortFunc(i.some, func(a, b int) int { return of.accounts[a].Compare(of.accounts[b]) })
		for _, n := range i.some {
			if err := w.define(n, of.accounts[n], of.parameters.fee(of.accounts[n])); err != nil {
				return err
			}
			if err := w.add(list{height: l.height, instance: number}, element{account: w.accounts[n], work: i.accounts[n]}); err != nil {
				return err
			}
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
	return nil
}

// share writes one of those at the window's edge.
func (w *writer) share(of *window, id Instance, n int, work difficulty.Exact) error {
	if err := w.define(n, of.accounts[n], of.parameters.fee(of.accounts[n])); err != nil {
		return err
	}
	return w.add(list{height: of.edge.level.height, shares: true}, element{w.instances[id], w.accounts[n], work})
}

func (w *writer) add(to list, e element) error {
	if len(w.list.elements) == 0 {
		to.elements = w.list.elements
		w.list = to
	}
	w.list.elements = append(w.list.elements, e)
	if len(w.list.elements) == perLine {
		return w.flush()
	}
	return nil
}

func (w *writer) flush() error {
	if len(w.list.elements) == 0 {
		return nil
	}
	w.list.text = w.list.append(w.list.text[:0])
	text := w.list.text
	err := w.text(text)
	w.list = list{elements: w.list.elements[:0], text: text}
	return err
}

// list is a line with sums or shares. There are many: they are read and written without
// encoding/json.
type list struct {
	shares   bool // else sums
	height   int64
	instance int // of sums
	elements []element
	text     []byte
}

type element struct {
	instance int // of shares
	account  int
	work     difficulty.Exact
}

func (l *list) append(b []byte) []byte {
	if l.shares {
		b = append(b, `{"shares":{"height":`...)
		b = strconv.AppendInt(b, l.height, 10)
	} else {
		b = append(b, `{"sums":{"height":`...)
		b = strconv.AppendInt(b, l.height, 10)
		b = append(b, `,"instance":`...)
		b = strconv.AppendInt(b, int64(l.instance), 10)
	}
	b = append(b, `,"work":[`...)
	for i, e := range l.elements {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '[')
		if l.shares {
			b = strconv.AppendInt(b, int64(e.instance), 10)
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(e.account), 10)
		b = append(b, `,"`...)
		b = e.work.Append(b)
		b = append(b, `"]`...)
	}
	return append(b, `]}}`...)
}

var errForm = errors.New("the line is not as this program writes it: something was changed, or another program wrote it")

// parse reads what append gives, and nothing else.
func (l *list) parse(line []byte) error {
	rest := line
	ok := true
	skip := func(text string) {
		if ok = ok && bytes.HasPrefix(rest, []byte(text)); ok {
			rest = rest[len(text):]
		}
	}
	number := func() (n int64) {
		digits := 0
		for digits < len(rest) && digits < 18 && rest[digits] >= '0' && rest[digits] <= '9' {
			n = n*10 + int64(rest[digits]-'0')
			digits++
		}
		rest = rest[digits:]
		return n
	}
	*l = list{elements: l.elements[:0], text: l.text}
	if l.shares = bytes.HasPrefix(rest, []byte(`{"shares":`)); l.shares {
		skip(`{"shares":{"height":`)
		l.height = number()
	} else {
		skip(`{"sums":{"height":`)
		l.height = number()
		skip(`,"instance":`)
		l.instance = int(number())
	}
	skip(`,"work":[`)
	for ok {
		var e element
		skip(`[`)
		if l.shares {
			e.instance = int(number())
			skip(`,`)
		}
		e.account = int(number())
		skip(`,"`)
		n := bytes.IndexByte(rest, '"')
		if !ok || n < 0 || n > 60 {
			return errForm
		}
		if err := e.work.UnmarshalText(rest[:n]); err != nil {
			return fmt.Errorf("work %w", err)
		}
		if e.work.IsZero() {
			return fmt.Errorf("work of 0, which no sum and no share has")
		}
		rest = rest[n:]
		skip(`"]`)
		l.elements = append(l.elements, e)
		if !bytes.HasPrefix(rest, []byte(",")) {
			break
		}
		rest = rest[1:]
	}
	// What is written again is the line, or it has more than one form.
	if l.text = l.append(l.text[:0]); !bytes.Equal(l.text, line) {
		return errForm
	}
	return nil
}
