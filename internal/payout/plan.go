package payout

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/ckpool/ckpool/address"
)

// Settings of payouts, as they hold when a run is planned. They are checked by
// [Settings.Check].
type Settings struct {
	Network address.Network
	// PayeesPay: the network fee is taken off what is paid, in equal parts from every
	// output of a transaction as Bitcoin Core does; else the pool pays it. What a bump
	// costs more is always the pool's.
	PayeesPay bool
	// Minimum is what is paid at least to who did not choose; who chose may have
	// anything up to MaxMinimum, lest a mistyped one hold money for ever, and not less
	// than Minimum where the pool pays the network fee.
	Minimum, MaxMinimum int64
	// Rate is the fee rate; 0: the node's estimate for Blocks.
	Rate   int64
	Blocks int
	// MinRate, MaxRate and MaxFee are the bounds of rate and fee of a transaction.
	MinRate, MaxRate, MaxFee int64
	// MaxOutputs to payees and MaxWeight of a transaction.
	MaxOutputs int
	MaxWeight  int64
	// Start is the height of the first block whose money anybody is owed: what the wallet
	// spent below it was for something else, and is not strange; 0: it is not known.
	Start int64
	// Final is how many confirmations of a spend make certain that another never will
	// be confirmed. Deep is how many a payment has when it is no longer looked at.
	Final, Deep int64
}

// Deep is how many confirmations a payment has when it is no longer looked at, by default.
const Deep = 100

// Defaults are settings for a network where nothing is configured.
func Defaults(n address.Network) Settings {
	return Settings{
		Network: n, Minimum: 100_000, MaxMinimum: 100_000_000, Blocks: 6,
		MinRate: 1_000, MaxRate: 200_000, MaxFee: 1_000_000, MaxOutputs: 1_000, MaxWeight: standardWeight, Final: 6, Deep: Deep,
	}
}

// standardWeight is what nodes relay (policy of Bitcoin Core); roomForInputs is kept of
// it for inputs, about 360 of them, and change.
const (
	standardWeight = 400_000
	roomForInputs  = 100_000
	overhead       = 4*(4+4+3+3) + 2 // version, lock time, counts, segwit's marker and flag
)

// MostRate is the most that the bound of the fee rate can be, in satoshis per 1,000 vbytes.
const MostRate = 100_000_000

// Check reports settings that cannot hold.
func (s *Settings) Check() error {
	switch {
	case s.Minimum < 1 || s.MaxMinimum < s.Minimum || s.MaxMinimum > maxMoney:
		return fmt.Errorf("payout: minimum %d and its bound %d: want 1 or more, and the bound not below", s.Minimum, s.MaxMinimum)
	case s.MinRate < 0 || s.MaxRate < s.MinRate || s.MaxRate < 1 || s.MaxRate > MostRate:
		return fmt.Errorf("payout: bounds %d and %d of the fee rate: want satoshis per 1000 vbytes, the upper one from 1 to %d", s.MinRate, s.MaxRate, MostRate)
	case s.Rate != 0 && (s.Rate < s.MinRate || s.Rate > s.MaxRate):
		return fmt.Errorf("payout: fee rate %d is not within its bounds %d and %d", s.Rate, s.MinRate, s.MaxRate)
	case s.MaxFee < 1 || s.MaxFee > maxMoney:
		return fmt.Errorf("payout: greatest fee %d: want 1 satoshi or more", s.MaxFee)
	case s.MaxOutputs < 1:
		return fmt.Errorf("payout: %d outputs of a transaction: want 1 or more", s.MaxOutputs)
	case s.MaxWeight <= roomForInputs || s.MaxWeight > standardWeight:
		return fmt.Errorf("payout: greatest weight %d: want more than %d, up to %d", s.MaxWeight, roomForInputs, standardWeight)
	case s.Rate == 0 && (s.Blocks < 1 || s.Blocks > 1008):
		return fmt.Errorf("payout: fee estimate for %d blocks: want 1 to 1008", s.Blocks)
	case s.Final < 1 || s.Deep < s.Final:
		return fmt.Errorf("payout: %d confirmations are final and %d deep: want 1 or more, and deep not less than final", s.Final, s.Deep)
	}
	return nil
}

// Payee is an account that is owed something.
type Payee struct {
	Account int64
	Name    string
	Balance int64 // matured, and not in a payment already
	Minimum int64 // its own choice; 0: none
	Targets []Target
	// Held says why it is not to be paid: locked, held, or money in an open payment.
	Held string
}

// Target is an address and its part of all that the payee is paid.
type Target struct {
	Address string
	Parts   int64 // of the sum of all parts
}

// Output of a payment.
type Output struct {
	Account int64
	Name    string
	Address string
	Script  []byte
	Debit   int64 // what the account is debited
	// Amount is what the output is to have: Debit, less its part of the network fee
	// where payees pay it, which is known when the transaction is.
	Amount int64
}

// Left is a payee that gets nothing.
type Left struct {
	Account int64
	Name    string
	Balance int64
	Reason  string
}

// Plan is who would be paid by which transaction, and who not.
type Plan struct {
	Payments [][]Output // each the payee outputs of one transaction
	Left     []Left
}

// Total is what all accounts together are debited.
func (p *Plan) Total() (sum int64) {
	for _, outputs := range p.Payments {
		sum += Debits(outputs)
	}
	return sum
}

// Debits is the sum of what accounts are debited for outputs.
func Debits(outputs []Output) (sum int64) {
	for _, o := range outputs {
		sum += o.Debit
	}
	return sum
}

// Make makes a plan. Its result does not depend on the order of payees. It is an error
// only if settings or payees cannot be; a payee that cannot be paid is left out.
func Make(payees []Payee, s Settings) (*Plan, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	payees = slices.Clone(payees)
	slices.SortFunc(payees, func(a, b Payee) int { return cmp.Compare(a.Account, b.Account) })
	p := new(Plan)
	var due [][]Output // of each payee
	total := int64(0)
	for i, payee := range payees {
		if i > 0 && payees[i-1].Account == payee.Account {
			return nil, fmt.Errorf("payout: account %s is there twice", payee.Name)
		}
		outputs, err := s.outputs(&payee)
		if err != nil {
			if payee.Balance != 0 {
				p.Left = append(p.Left, Left{payee.Account, payee.Name, payee.Balance, err.Error()})
			}
			continue
		}
		if total += payee.Balance; total > maxMoney {
			return nil, errors.New("payout: balances are more than all money there can be: run ckdb check")
		}
		due = append(due, outputs)
	}
	for len(due) > 0 {
		due = p.fill(due, &s)
	}
	return p, nil
}

// fill makes payments of what is due to payees, in their order, and gives back what is for
// further ones: an address that is in a payment already is in none of its outputs again.
// Bitcoin Core refuses such a transaction as a whole, and two accounts may be paid to one
// address: a user where somebody also mines under it.
func (p *Plan) fill(due [][]Output, s *Settings) (twice [][]Output) {
	var current []Output
	weight, paid := int64(overhead), map[string]bool{}
	end := func() {
		if len(current) > 0 {
			p.Payments = append(p.Payments, current)
		}
		current, weight = nil, overhead
		clear(paid)
	}
	for _, outputs := range due {
		more := int64(0)
		for _, o := range outputs {
			more += outputWeight(o.Script)
		}
		if len(current)+len(outputs) > s.MaxOutputs || weight+more > s.MaxWeight-roomForInputs {
			end()
		}
		if slices.ContainsFunc(outputs, func(o Output) bool { return paid[string(o.Script)] }) {
			twice = append(twice, outputs)
			continue
		}
		for _, o := range outputs {
			paid[string(o.Script)] = true
		}
		current = append(current, outputs...)
		weight += more
	}
	end()
	return twice
}

// outputs are those of one payee; the error is the reason that there are none.
func (s *Settings) outputs(p *Payee) ([]Output, error) {
	minimum := s.Minimum
	if p.Minimum > 0 {
		minimum = min(p.Minimum, s.MaxMinimum)
		if !s.PayeesPay { // else a few satoshis each time would cost the pool more than that
			minimum = max(minimum, s.Minimum)
		}
	}
	switch {
	case p.Held != "":
		return nil, errors.New(p.Held)
	case p.Balance <= 0:
		return nil, errors.New("nothing is owed")
	case p.Balance > maxMoney:
		return nil, errors.New("the balance is more than all money there can be: run ckdb check")
	case p.Balance < minimum:
		return nil, fmt.Errorf("below the minimum of %s, carried", FormatBitcoins(minimum))
	case len(p.Targets) == 0:
		return nil, errors.New("no address to pay to")
	case len(p.Targets) > s.MaxOutputs:
		return nil, fmt.Errorf("%d addresses are more than the %d outputs of a transaction", len(p.Targets), s.MaxOutputs)
	}
	scripts := make([][]byte, len(p.Targets))
	seen := map[string]bool{}
	weight := int64(overhead)
	for i, t := range p.Targets {
		script, err := Script(t.Address, s.Network)
		if err != nil {
			return nil, err
		}
		if seen[string(script)] {
			return nil, fmt.Errorf("address %s is there twice", t.Address)
		}
		seen[string(script)] = true
		scripts[i] = script
		weight += outputWeight(script)
	}
	if weight > s.MaxWeight-roomForInputs {
		return nil, fmt.Errorf("%d addresses are too many for a transaction", len(p.Targets))
	}
	amounts, err := divide(p.Balance, p.Targets)
	if err != nil {
		return nil, err
	}
	outputs := make([]Output, len(p.Targets))
	for i, t := range p.Targets {
		if limit := Dust(scripts[i]); amounts[i] < limit {
			return nil, fmt.Errorf("%d satoshis to %s are below the dust limit of %d, carried", amounts[i], t.Address, limit)
		}
		outputs[i] = Output{p.Account, p.Name, t.Address, scripts[i], amounts[i], amounts[i]}
	}
	return outputs, nil
}

// divide divides an amount by parts: the floor of each, and what is left satoshi by
// satoshi to the largest remainders; of equal ones the earlier target has it.
func divide(amount int64, targets []Target) ([]int64, error) {
	sum := new(big.Int)
	for _, t := range targets {
		if t.Parts <= 0 {
			return nil, fmt.Errorf("address %s has the part %d: want 1 or more", t.Address, t.Parts)
		}
		sum.Add(sum, big.NewInt(t.Parts))
	}
	amounts, rest := make([]int64, len(targets)), make([]*big.Int, len(targets))
	order := make([]int, len(targets))
	left := amount
	for i, t := range targets {
		q, r := new(big.Int).Mul(big.NewInt(amount), big.NewInt(t.Parts)), new(big.Int)
		q.QuoRem(q, sum, r)
		amounts[i], rest[i], order[i] = q.Int64(), r, i
		left -= amounts[i]
	}
	slices.SortStableFunc(order, func(a, b int) int { return rest[b].Cmp(rest[a]) })
	for _, i := range order[:left] {
		amounts[i]++
	}
	return amounts, nil
}

// Script is the output script of an address that may be paid on a network. The error
// says what is wrong with the address. A taproot address whose key is not on the curve
// is refused: nobody could ever spend what it gets.
func Script(text string, n address.Network) ([]byte, error) {
	a, err := address.Parse(text)
	if err != nil {
		if i := strings.IndexAny(text, "._"); i > 0 {
			if _, err := address.Parse(text[:i]); err == nil {
				return nil, fmt.Errorf("%s: the name of a worker is still on the address", text)
			}
		}
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	if !a.On(n) {
		return nil, fmt.Errorf("%s: an address of another network, %s", text, a.Network())
	}
	if err := a.Payable(); err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return a.Script(), nil
}

// Dust is the least amount in satoshis that nodes relay to a script: what spending it
// costs at 3 satoshis per vbyte, as in Bitcoin Core.
func Dust(script []byte) int64 {
	const rate, legacySpend, witnessSpend = 3, 148, 67 // vbytes of an input that spends it
	spend := int64(legacySpend)
	if n := len(script); n >= 4 && n <= 42 && int(script[1]) == n-2 && (script[0] == 0 || script[0] >= 0x51 && script[0] <= 0x60) {
		spend = witnessSpend
	}
	return rate * (8 + 1 + int64(len(script)) + spend)
}

// outputWeight is the weight of an output to a script of an address.
func outputWeight(script []byte) int64 { return 4 * (8 + 1 + int64(len(script))) }
