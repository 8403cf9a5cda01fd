// Verify recomputes who gets how much of a block, from the file that "ckdb export block"
// wrote, by the rules of docs/accounting.md and with nothing of ckdb:
//
//	ckdb export block 900000 > proof
//	verify proof
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math/big"
	"os"
	"slices"

	"github.com/ckpool/ckpool/difficulty"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: verify FILE")
	}
	p, err := read(os.Args[1])
	if err == nil {
		err = p.verify()
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("The reward is right.")
}

// line is a line of the file: one of the members is there.
type line struct {
	Header *struct {
		Format  string
		Version int
		Block   struct {
			Height        int64
			Value, Direct int64            // satoshis that the pool was paid, and the finder
			Difficulty    difficulty.Exact // of the network
			Finder        name
		}
		Parameters struct {
			Scheme     string           // pplns, proportional or solo
			Times, Add difficulty.Exact // the window of pplns is times × network difficulty + add
			Fee        int64            // millionths
		}
	}
	Account *struct {
		Number int
		name
		Fee int64
	}
	Sums *struct { // of one height; the last of them is the edge of the window
		Height int64
		Work   []work
	}
	Shares   *struct{ Work []work } // at the edge, the oldest first
	Division *struct{ Fee int64 }
	Credit   *struct {
		name
		Amount int64 // satoshis
	}
	End *struct{ Lines int } // how many there are before
}

// name is that of an account.
type name struct{ Kind, Name string }

func compare(a, b name) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) }

// work is an array that ends with the number of an account and a difficulty.
type work struct {
	account int
	units   *big.Int
}

// UnmarshalJSON reads the array.
func (w *work) UnmarshalJSON(b []byte) error {
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil || len(list) < 2 {
		return fmt.Errorf("work %s: %w", b, err)
	}
	var d difficulty.Exact
	if err := json.Unmarshal(list[len(list)-1], &d); err != nil {
		return err
	}
	w.units = units(d)
	return json.Unmarshal(list[len(list)-2], &w.account)
}

// units is a difficulty in units of 10⁻¹², in which it is whole.
func units(d difficulty.Exact) *big.Int {
	high, low := d.Units()
	n := new(big.Int).SetUint64(high)
	return n.Lsh(n, 64).Add(n, new(big.Int).SetUint64(low))
}

// proof is what the file says.
type proof struct {
	line                    // with the header, the last sums, the division and the end
	accounts []account      // by number
	shares   []work         // at the edge of the window, the oldest first
	credits  map[name]int64 // that the pool gave
}

type account struct {
	name
	fee               *big.Int // millionths
	work              *big.Int // in the window
	edge              *big.Int // at the last height, that no single share stands for
	weight, remainder *big.Int
	amount            int64
}

func read(path string) (*proof, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := &proof{credits: map[name]int64{}}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	n := 0
	for ; lines.Scan() && p.End == nil; n++ {
		if err := p.take(lines.Bytes()); err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
	}
	switch {
	case lines.Err() != nil:
		return nil, lines.Err()
	case p.Header == nil || p.Header.Format != "ckpool reward" || p.Header.Version != 1:
		return nil, errors.New("the file is no proof of a reward")
	case p.End == nil || p.Division == nil || p.End.Lines != n-1:
		return nil, errors.New("the file is cut off")
	}
	for _, a := range p.accounts {
		if len(p.shares) > 0 && a.edge.Sign() != 0 {
			return nil, fmt.Errorf("single shares of %s are not what their sum says", a.Name)
		}
	}
	return p, nil
}

// take reads a line.
func (p *proof) take(text []byte) error {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return err
	}
	switch {
	case l.Header != nil:
		p.Header = l.Header
	case l.Account != nil:
		p.accounts = append(p.accounts, account{name: l.Account.name, fee: big.NewInt(l.Account.Fee), work: new(big.Int), edge: new(big.Int)})
	case l.Sums != nil:
		if p.Sums == nil || l.Sums.Height != p.Sums.Height {
			for i := range p.accounts {
				p.accounts[i].edge = new(big.Int)
			}
		}
		p.Sums = l.Sums
		return p.each(l.Sums.Work, func(a *account, w work) {
			a.work.Add(a.work, w.units)
			a.edge.Add(a.edge, w.units)
		})
	case l.Shares != nil:
		p.shares = append(p.shares, l.Shares.Work...)
		return p.each(l.Shares.Work, func(a *account, w work) { a.edge.Sub(a.edge, w.units) })
	case l.Division != nil:
		p.Division = l.Division
	case l.Credit != nil:
		p.credits[l.Credit.name] = l.Credit.Amount
	case l.End != nil:
		p.End = l.End
	}
	return nil
}

// each visits work with its account.
func (p *proof) each(list []work, visit func(*account, work)) error {
	for _, w := range list {
		if w.account < 1 || w.account > len(p.accounts) {
			return fmt.Errorf("there is no account %d", w.account)
		}
		visit(&p.accounts[w.account-1], w)
	}
	return nil
}

func (p *proof) verify() error {
	fee, err := p.divide()
	if err != nil {
		return err
	}
	for _, a := range p.accounts {
		fmt.Printf("%12d satoshis  %s %s\n", a.amount, a.Kind, a.Name)
		if got := p.credits[a.name]; got != a.amount {
			return fmt.Errorf("%s was given %d satoshis, and is to have %d", a.Name, got, a.amount)
		}
		delete(p.credits, a.name)
	}
	for who := range p.credits {
		return fmt.Errorf("%s was given something without work", who.Name)
	}
	if fmt.Printf("%12d satoshis  fee\n", fee); fee != p.Division.Fee {
		return fmt.Errorf("the pool kept %d satoshis, and is to have %d", p.Division.Fee, fee)
	}
	return nil
}

// divide computes what each account is to have, and the pool's fee.
func (p *proof) divide() (fee int64, err error) {
	block := p.Header.Block
	value := big.NewInt(block.Value)
	million := big.NewInt(1_000_000)
	if p.Header.Parameters.Scheme == "solo" {
		if len(p.accounts) != 1 || p.accounts[0].name != block.Finder {
			return 0, errors.New("the block is of nobody but its finder")
		}
		a := &p.accounts[0]
		fee = new(big.Int).Div(new(big.Int).Mul(value, a.fee), million).Int64()
		if block.Direct > 0 { // the coinbase has paid the finder already
			fee = block.Value
		}
		a.amount = block.Value + block.Direct - fee
		return fee, nil
	}
	if p.Header.Parameters.Scheme == "pplns" {
		if err := p.cut(); err != nil {
			return 0, err
		}
	}

	all, fees, weights := new(big.Int), new(big.Int), new(big.Int)
	for i := range p.accounts {
		a := &p.accounts[i]
		all.Add(all, a.work)
		fees.Add(fees, new(big.Int).Mul(a.work, a.fee))
		a.weight = new(big.Int).Mul(a.work, new(big.Int).Sub(million, a.fee))
		weights.Add(weights, a.weight)
	}
	if all.Sign() == 0 {
		return 0, errors.New("nobody has worked for the block")
	}
	fee = new(big.Int).Div(fees.Mul(fees, value), all.Mul(all, million)).Int64()
	divided := block.Value - fee
	left := divided
	for i := range p.accounts {
		a := &p.accounts[i]
		a.remainder = new(big.Int)
		if weights.Sign() > 0 {
			whole := new(big.Int).Mul(big.NewInt(divided), a.weight)
			whole.DivMod(whole, weights, a.remainder)
			a.amount = whole.Int64()
			left -= a.amount
		}
	}
	slices.SortFunc(p.accounts, func(a, b account) int {
		return cmp.Or(b.remainder.Cmp(a.remainder), compare(a.name, b.name))
	})
	for i := range left {
		p.accounts[i].amount++
	}
	slices.SortFunc(p.accounts, func(a, b account) int { return compare(a.name, b.name) })
	return fee, nil
}

// cut takes the oldest shares away as far as there is more work than the window holds.
func (p *proof) cut() error {
	surplus := new(big.Int).Mul(units(p.Header.Parameters.Times), units(p.Header.Block.Difficulty))
	surplus.Div(surplus, big.NewInt(1_000_000_000_000)).Add(surplus, units(p.Header.Parameters.Add)).Neg(surplus)
	for _, a := range p.accounts {
		surplus.Add(surplus, a.work)
	}
	for _, s := range p.shares {
		if surplus.Sign() <= 0 {
			return nil
		}
		gone := s.units
		if gone.Cmp(surplus) > 0 {
			gone = surplus
		}
		has := p.accounts[s.account-1].work
		has.Sub(has, gone)
		surplus = new(big.Int).Sub(surplus, gone)
	}
	if surplus.Sign() > 0 {
		return errors.New("the file has more work than the window holds, and not the shares at its edge")
	}
	return nil
}
