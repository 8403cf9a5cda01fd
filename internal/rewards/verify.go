package rewards

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/ckpool/ckpool/difficulty"
)

// Verify computes a reward from a file of Export alone, and compares it with the one
// in the file. Whatever is wrong is an error that begins with the number of the line.
func Verify(from io.Reader) (*Reward, error) {
	v := &verifier{from: bufio.NewReaderSize(from, maxLine)}
	r, err := v.verify()
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", max(v.line, 1), err)
	}
	return r, nil
}

// verifier reads a file.
type verifier struct {
	from      *bufio.Reader
	line      int64 // number of the last line that was read
	window    *window
	instances []Instance
	accounts  []int // numbers of the window
	list      list
	last      sumPlace
	edge      map[int]int // instances of the window's edge, by number in the file
}

// sumPlace is where a sum stands among the sums.
type sumPlace struct {
	height            int64
	instance, account int
}

func (v *verifier) verify() (*Reward, error) {
	text, err := v.read()
	if err != nil {
		return nil, err
	}
	if err := v.header(text); err != nil {
		return nil, err
	}
	for {
		if text, err = v.read(); err != nil {
			return nil, err
		}
		switch kind(text) {
		case "instance":
			err = v.instance(text)
		case "account":
			err = v.account(text)
		case "sums", "shares":
			err = v.work(text)
		case "window":
			return v.result(text)
		default:
			err = fmt.Errorf("%.60q: want an instance, account, sums, shares or window", text)
		}
		if err != nil {
			return nil, err
		}
	}
}

// kind of a line is the name of its first member.
func kind(line []byte) string {
	rest, ok := bytes.CutPrefix(line, []byte(`{"`))
	name, _, found := bytes.Cut(rest, []byte(`":`))
	if !ok || !found {
		return ""
	}
	return string(name)
}

func (v *verifier) read() ([]byte, error) {
	v.line++
	line, err := v.from.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("the line is longer than %d bytes", maxLine)
	case errors.Is(err, io.EOF) && len(line) == 0:
		return nil, errors.New("the file ends here, without a line \"end\": it was cut off")
	case errors.Is(err, io.EOF):
		return nil, errors.New("the line has no end: the file was cut off")
	case err != nil:
		return nil, err
	}
	return line[:len(line)-1], nil
}

// decode reads a line of one form into what a pointer points to.
func decode(line []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return fmt.Errorf("%.60q: %w", line, err)
	}
	if again, err := json.Marshal(to); err != nil || !bytes.Equal(again, line) {
		return errForm
	}
	return nil
}

func (v *verifier) header(line []byte) (err error) {
	var l headerLine
	if err := json.Unmarshal(line, &l); l.Header.Format != format {
		if err != nil {
			return fmt.Errorf("this is no file of a %s: %w", format, err)
		}
		return fmt.Errorf("this is no file of a %s", format)
	}
	if l.Header.Version != version {
		return fmt.Errorf("the file is of version %d, this program reads version %d: take the release that wrote it", l.Header.Version, version)
	}
	l = headerLine{}
	if err := decode(line, &l); err != nil {
		return err
	}
	l.Header.Parameters.Fees = make(map[Account]int64)
	v.window, err = newWindow(l.Header.Block, l.Header.Parameters)
	return err
}

func (v *verifier) instance(line []byte) error {
	var l instanceLine
	if err := decode(line, &l); err != nil {
		return err
	}
	if n := len(v.instances) + 1; l.Instance.Number != n {
		return fmt.Errorf("instance %d comes where instance %d is due", l.Instance.Number, n)
	}
	for _, id := range v.instances {
		if id == l.Instance.ID {
			return fmt.Errorf("instance %s has a number already", id)
		}
	}
	if len(v.instances) == maxInstances {
		return fmt.Errorf("more than %d instances", maxInstances)
	}
	v.instances = append(v.instances, l.Instance.ID)
	return nil
}

func (v *verifier) account(line []byte) error {
	var l accountLine
	if err := decode(line, &l); err != nil {
		return err
	}
	a := l.Account
	if n := len(v.accounts) + 1; a.Number != n {
		return fmt.Errorf("account %d comes where account %d is due", a.Number, n)
	}
	if err := checkFee(a.Fee); err != nil {
		return fmt.Errorf("%v: %w", a.Account, err)
	}
	n, err := v.window.number(a.Account)
	if err != nil {
		return err
	}
	if n != len(v.accounts) {
		return fmt.Errorf("%v has a number already", a.Account)
	}
	v.accounts = append(v.accounts, n)
	if a.Fee != v.window.parameters.Fee {
		v.window.parameters.Fees[a.Account] = a.Fee
	}
	return nil
}

func (v *verifier) work(line []byte) error {
	if err := v.list.parse(line); err != nil {
		return err
	}
	l := &v.list
	if v.window.parameters.Scheme == Solo {
		return errors.New("a solo block is divided without shares")
	}
	if l.shares {
		return v.shares(l)
	}
	if l.instance < 1 || l.instance > len(v.instances) {
		return fmt.Errorf("instance %d has not been named", l.instance)
	}
	for _, e := range l.elements {
		if err := v.sum(sumPlace{l.height, l.instance, e.account}, e.work); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) sum(at sumPlace, work difficulty.Exact) error {
	if at.account < 1 || at.account > len(v.accounts) {
		return fmt.Errorf("account %d has not been named", at.account)
	}
	n, w := v.accounts[at.account-1], v.window
	if last := v.last; w.seen && last.height == at.height {
		if last.instance == at.instance && w.accounts[v.accounts[last.account-1]].Compare(w.accounts[n]) >= 0 {
			return fmt.Errorf("the sum of %v stands in the wrong place: accounts go up by kind and name", w.accounts[n])
		}
		if a, b := v.instances[last.instance-1], v.instances[at.instance-1]; a != b && string(a[:]) > string(b[:]) {
			return fmt.Errorf("the sums of instance %s stand in the wrong place: instances go up by id", b)
		}
	}
	v.last = at
	if err := w.add(at.height, v.instances[at.instance-1], n, work); err != nil {
		return err
	}
	if w.ended {
		return fmt.Errorf("sums of height %d are below the window", at.height)
	}
	return nil
}

func (v *verifier) shares(l *list) error {
	w := v.window
	if v.edge == nil {
		if err := w.end(); err != nil {
			return err
		}
		v.edge = make(map[int]int)
		if w.edge == nil {
			return errors.New("single shares, although the window does not begin inside of a height")
		}
		for n, sums := range w.edge.level.instances {
			for i, id := range v.instances {
				if id == sums.id {
					v.edge[i+1] = n
				}
			}
		}
	}
	if w.edge == nil || l.height != w.edge.level.height {
		return fmt.Errorf("single shares of height %d, although the window does not begin there", l.height)
	}
	for _, e := range l.elements {
		n, ok := v.edge[e.instance]
		if !ok {
			return fmt.Errorf("instance %d has no sums at height %d", e.instance, l.height)
		}
		if e.account < 1 || e.account > len(v.accounts) {
			return fmt.Errorf("account %d has not been named", e.account)
		}
		if err := w.edge.share(n, v.accounts[e.account-1], e.work); err != nil {
			return err
		}
	}
	return nil
}

// result compares the lines of the result, of which the first was read.
func (v *verifier) result(line []byte) (*Reward, error) {
	if err := v.window.end(); err != nil {
		return nil, err
	}
	if v.window.edge != nil {
		if err := v.window.edge.finish(); err != nil {
			return nil, err
		}
	}
	r, err := v.window.divide()
	if err != nil {
		return nil, err
	}
	compare := func(computed any) error {
		want, err := json.Marshal(computed)
		if err != nil {
			return err
		}
		if !bytes.Equal(line, want) {
			return fmt.Errorf("the file says %.2000s, computed is %s", line, want)
		}
		return nil
	}
	first := true
	for computed := range r.lines {
		if !first {
			if line, err = v.read(); err != nil {
				return nil, err
			}
		}
		first = false
		if err := compare(computed); err != nil {
			return nil, err
		}
	}
	if line, err = v.read(); err != nil {
		return nil, err
	}
	if err := compare(end(v.line - 1)); err != nil {
		return nil, err
	}
	if _, err := v.from.Peek(1); !errors.Is(err, io.EOF) {
		v.line++
		if err != nil {
			return nil, err
		}
		return nil, errors.New("the file goes on behind its end")
	}
	return r, nil
}
