package work

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Output is an output of a coinbase beside the payout. What it is paid comes off
// the payout.
type Output struct {
	Script []byte   // at most 10,000 bytes
	Value  int64    // satoshis, where Part is the zero Fraction
	Part   Fraction // of the reward; a part of less than a satoshi is no output
	// Required outputs are in the coinbase of every miner, whatever its limit.
	// They come before all others.
	Required bool
}

// Fraction is a part of a whole, Num / Den, from 0 to 1. The zero Fraction is none.
type Fraction struct{ Num, Den uint64 }

// Percent is the fraction that a decimal number of percent stands for, as it is
// printed: 0.1 is exactly a thousandth. What is not above 0 is 0, what is above 100
// is more than a whole, which no job is made with.
func Percent(percent float64) Fraction {
	switch {
	case !(percent > 0): // also NaN
		return Fraction{0, 100}
	case percent > 100:
		return Fraction{200, 100}
	}
	const digits = 17 // behind the point; with them both numbers have room
	text := strconv.FormatFloat(percent, 'f', -1, 64)
	whole, decimals, _ := strings.Cut(text, ".")
	if len(decimals) > digits {
		whole, decimals, _ = strings.Cut(strconv.FormatFloat(percent, 'f', digits, 64), ".")
	}
	f := Fraction{Den: 100}
	for _, c := range []byte(whole + decimals) {
		f.Num = 10*f.Num + uint64(c-'0')
	}
	for range decimals {
		f.Den *= 10
	}
	return f
}

// Of is the part of so many satoshis, without what is less than one.
func (f Fraction) Of(satoshis int64) int64 {
	if f.Den == 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(satoshis), f.Num)
	n, _ := bits.Div64(hi, lo, f.Den) // less than satoshis
	return int64(n)
}

// checkOutputs reports outputs no job can be made with.
func checkOutputs(outputs []Output) error {
	for i, o := range outputs {
		switch {
		case o.Value < 0 || o.Value > maxMoney:
			return fmt.Errorf("coinbase output of %d satoshis", o.Value)
		case o.Part.Num > o.Part.Den:
			return fmt.Errorf("coinbase output of %d/%d of the reward", o.Part.Num, o.Part.Den)
		case o.Part != Fraction{} && o.Value != 0:
			return fmt.Errorf("coinbase output of %d satoshis and a part of the reward", o.Value)
		case len(o.Script) > maxScript:
			return fmt.Errorf("coinbase output with a script of %d bytes", len(o.Script))
		case o.Required && i > 0 && !outputs[i-1].Required:
			return fmt.Errorf("coinbase output %d is required and stands behind one that is not", i)
		}
	}
	return nil
}

// setOutputs turns parts into satoshis.
func (j *Job) setOutputs(outputs []Output) error {
	if err := checkOutputs(outputs); err != nil {
		return err
	}
	left := j.Template.CoinbaseValue
	for _, o := range outputs {
		if o.Part != (Fraction{}) {
			if o.Value, o.Part = o.Part.Of(j.Template.CoinbaseValue), (Fraction{}); o.Value == 0 {
				continue
			}
		}
		if left -= o.Value; left < 0 {
			return errors.New("the coinbase outputs are worth more than the reward")
		}
		j.outputs = append(j.outputs, o)
		if o.Required {
			j.required++
		}
	}
	return nil
}

// leaveOut cuts the outputs off, from the end, that the block has no room for.
func (j *Job) leaveOut() error {
	t := j.Template
	weight, sigops := t.coinbaseRoom()
	if t.commitment() != nil {
		weight -= 2 + len(witness) // marker, flag
	}
	j.most = weight / witnessScale
	payout := 1 // any address in solo has at most that
	if !j.Solo {
		payout = countSigops(j.builder.PayoutScript)
	}
	room := sigops/witnessScale - payout
	n := 0
	for n < len(j.outputs) && room >= countSigops(j.outputs[n].Script) {
		room -= countSigops(j.outputs[n].Script)
		n++
	}
	for n > 0 && j.size(layout{false, n}) > j.most {
		n--
	}
	if least := j.size(layout{}); least > j.most || room < 0 {
		return fmt.Errorf("the transactions leave %d weight units and %d sigops for the coinbase, which needs %d and %d",
			weight, sigops, least*witnessScale, payout*witnessScale)
	}
	j.LeftOut, j.outputs = j.outputs[n:], j.outputs[:n:n]
	j.required = min(j.required, n)
	return nil
}
