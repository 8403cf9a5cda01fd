package jobs

import (
	"fmt"
	"strings"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/work"
)

// logCoinbase shows whom a block would pay, so that an operator sees it before
// the first share: a wrong address here is money for a stranger.
func (g *Generator) logCoinbase(job *work.Job) {
	c := g.options.Config()
	m := work.Miner{Limit: work.CoinbaseLimit(""), Extranonce1: make([]byte, c.Nonce1Length)}
	if g.options.Payout.Solo() {
		m.Payout = []byte{0x6a} // a stand-in: the finder's own script goes here
	}
	tx := job.CoinbaseTx(&m, &work.Solution{Extranonce2: make([]byte, c.Nonce2Length)})
	script, pays, err := g.describeCoinbase(tx)
	if err != nil {
		g.options.Events.Say(event.Error, "Coinbase cannot be decoded: "+err.Error())
		return
	}
	line := "Coinbase: " + strings.Join(pays, ", ") + ", tag " + g.builder.Tag
	if g.builder.Sig != "" {
		line += ", signature " + g.builder.Sig
	}
	g.options.Events.Say(event.Warning, line)
	g.options.Events.Say(event.Info, fmt.Sprintf("Coinbase script: %x", script))
}

// describeCoinbase is the script of a coinbase without witness, and what each
// output that is money pays to whom.
func (g *Generator) describeCoinbase(tx []byte) (script []byte, pays []string, err error) {
	script, outputs, err := work.DecodeCoinbase(tx)
	for _, o := range outputs {
		if o.Value > 0 {
			pays = append(pays, figures.Bitcoins(o.Value)+" to "+g.describeScript(o.Script))
		}
	}
	return script, pays, err
}

func (g *Generator) describeScript(script []byte) string {
	switch a, err := address.FromScript(script, g.network); {
	case err == nil:
		return a.String()
	case len(script) == 1 && g.options.Payout.Solo():
		return "the miner that finds the block"
	default:
		return fmt.Sprintf("script %x", script)
	}
}
