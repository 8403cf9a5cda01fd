package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/page"
	"github.com/ckpool/ckpool/internal/payout"
	"github.com/ckpool/ckpool/internal/store"
)

// paying is a command about payouts, with what it needs.
type paying struct {
	*call
	store  *store.Store
	book   *store.Payments
	sender *payout.Sender
	auto   payout.Limits
}

// pay runs a command about payouts. Without a node there is no wallet to send with.
func (c *call) pay(ctx context.Context, wallet bool, f func(p *paying) error) error {
	return c.with(ctx, func(s *store.Store) error {
		p, done, err := c.paying(ctx, s, wallet, person())
		if err != nil {
			return err
		}
		defer done()
		return f(p)
	})
}

// paying prepares what pays for somebody, until done is called.
func (c *call) paying(ctx context.Context, s *store.Store, wallet bool, by string) (p *paying, done func(), err error) {
	rate, err := parseRate(c.feeRate)
	if err != nil {
		return nil, nil, err
	}
	p = &paying{call: c, store: s, book: s.Payments()}
	settings, auto, err := s.PayoutSettings(ctx)
	if err != nil {
		return nil, nil, err
	}
	p.auto, settings.Rate = auto, rate
	p.sender = &payout.Sender{Book: p.book, Settings: settings, By: by}
	if err := settings.Check(); err != nil {
		return nil, nil, err
	}
	client := c.walletNode()
	switch {
	case client == nil && wallet:
		return nil, nil, errNoNode
	case client == nil:
		return p, func() {}, nil
	}
	node := c.node()
	defer node.Close()
	if err := rightNode(ctx, s, node); err != nil {
		client.Close()
		return nil, nil, err
	}
	p.sender.Wallet = payout.NewWallet(client, settings.Network)
	return p, func() { client.Close() }, nil
}

// rightNode refuses a node that does not answer, of another network than the shares, or
// that does not know the whole chain.
func rightNode(ctx context.Context, s *store.Store, client *bitcoind.Client) error {
	info, err := client.ChainInfo(ctx)
	if err != nil {
		return err
	}
	network, err := s.Network(ctx)
	switch {
	case err != nil:
		return err
	case info.Chain != network:
		return fmt.Errorf("bitcoind %s is on chain %q, the database has shares of %s", client, info.Chain, network)
	case info.InitialBlockDownload != nil && *info.InitialBlockDownload:
		return fmt.Errorf("bitcoind %s still downloads the chain: it has %d of %d blocks", client, info.Blocks, info.Headers)
	}
	return nil
}

// parseRate reads a fee rate in satoshis per virtual byte: satoshis per 1000 of them.
func parseRate(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	const places = 3
	whole, part, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(whole+part+strings.Repeat("0", max(places-len(part), 0)), 10, 32)
	if err != nil || whole == "" || len(part) > places || n < 1 || strings.Trim(whole+part, "0123456789") != "" {
		return 0, fmt.Errorf("--fee-rate %s: want satoshis per virtual byte, such as 5 or 1.25", text)
	}
	return n, nil
}

// plannedPayee is an output of a plan.
type plannedPayee struct {
	User        string `json:"user"`
	Amount      int64  `json:"amount"` // what arrives, without a node that is not known, and Debit
	Debit       int64  `json:"debit"`
	Address     string `json:"address"`
	Transaction int    `json:"transaction,omitempty"` // of the run, from 1
}

// leftPayee is who is paid nothing.
type leftPayee struct {
	User    string `json:"user"`
	Balance int64  `json:"balance"`
	Reason  string `json:"reason"`
}

// planned is a plan as it is shown.
type planned struct {
	Total        int64          `json:"debit"`
	Fee          *int64         `json:"network_fee,omitempty"` // nil: no node was asked
	Payer        string         `json:"payer"`                 // of the fee: pool or users
	Transactions int            `json:"transactions"`
	Payees       []plannedPayee `json:"payees"`
	Left         []leftPayee    `json:"left"`
}

// plan plans a run; with a node, its transactions are made to know the fee.
func (p *paying) plan(ctx context.Context) (*payout.Plan, *planned, error) {
	payees, err := p.store.Payees(ctx)
	if err != nil {
		return nil, nil, err
	}
	plan, err := p.sender.Plan(ctx, payees)
	if err != nil {
		return nil, nil, err
	}
	v := &planned{Total: plan.Total(), Payer: "pool", Transactions: len(plan.Payments), Payees: []plannedPayee{}, Left: []leftPayee{}}
	if p.sender.Settings.PayeesPay {
		v.Payer = "users"
	}
	fee := int64(0)
	for n, outputs := range plan.Payments {
		amounts, of, err := p.dry(ctx, outputs)
		if err != nil {
			return nil, nil, err
		}
		fee += of
		for i, o := range outputs {
			v.Payees = append(v.Payees, plannedPayee{o.Name, amounts[i], o.Debit, o.Address, n + 1})
		}
	}
	if p.sender.Wallet != nil {
		v.Fee = &fee
	}
	for _, l := range plan.Left {
		v.Left = append(v.Left, leftPayee{l.Name, l.Balance, l.Reason})
	}
	return plan, v, nil
}

// dry has the wallet make a transaction, which changes nothing, for what arrives and for
// the fee.
func (p *paying) dry(ctx context.Context, outputs []payout.Output) (amounts []int64, fee int64, err error) {
	amounts = make([]int64, len(outputs))
	for i, o := range outputs {
		amounts[i] = o.Amount
	}
	if p.sender.Wallet == nil {
		return amounts, 0, nil
	}
	f, inputs, err := p.sender.Fund(ctx, &payout.Payment{Outputs: outputs, PayeesPay: p.sender.Settings.PayeesPay})
	if err != nil {
		return nil, 0, err
	}
	for _, in := range inputs {
		fee += in.Value
	}
	for i, o := range f.Packet.Tx.TxOut {
		if fee -= o.Value; i < len(amounts) {
			amounts[i] = o.Value
		}
	}
	return amounts, fee, nil
}

// show prints a plan.
func (p *paying) show(v *planned) error { return p.print(v) }

func (c *call) payoutPlan(ctx context.Context) error {
	return c.pay(ctx, false, func(p *paying) error {
		_, v, err := p.plan(ctx)
		if err != nil {
			return err
		}
		if err := p.show(v); err != nil || c.json || p.sender.Wallet != nil {
			return err
		}
		_, err = fmt.Fprintln(c, "the network fee is not known: --node names the node that makes the transactions")
		return err
	})
}

// errNotConfirmed tells that a person was asked and did not say yes.
var errNotConfirmed = errors.New("nothing was done: that takes a yes, in full")

// confirm asks before money moves.
func (c *call) confirm(ctx context.Context, question string) error {
	if c.yes {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return errors.New("nobody can be asked here whether money is to move: --yes says so")
	}
	fmt.Fprintf(os.Stderr, "%s [yes/no] ", question)
	line, err := typed(ctx, func() (string, error) { return bufio.NewReader(os.Stdin).ReadString('\n') })
	switch {
	case errors.Is(err, errInterrupted):
		return err
	case err != nil || strings.TrimSpace(line) != "yes":
		return errNotConfirmed
	}
	return nil
}

// unlocked refuses a wallet that cannot sign, before anything is changed.
func (p *paying) unlocked(ctx context.Context) error {
	locked, err := p.sender.Wallet.Locked(ctx)
	if err == nil && locked {
		err = errors.New("the node's wallet is locked: unlock it with walletpassphrase of the node, and run the command again; nothing was changed")
	}
	return err
}

// begin stores a new run after a person has agreed; nil: nobody is to be paid.
func (p *paying) begin(ctx context.Context, question string) ([]payout.Payment, error) {
	if err := p.sender.Guard(ctx); err != nil {
		return nil, err
	}
	plan, v, err := p.plan(ctx)
	if err != nil {
		return nil, err
	}
	if len(plan.Payments) == 0 {
		if !p.json {
			fmt.Fprintln(p, "nobody is to be paid")
		}
		return nil, p.show(v)
	}
	if !p.json && !p.yes {
		if err := p.show(v); err != nil {
			return nil, err
		}
	}
	if err := p.confirmFirst(ctx, question); err != nil {
		return nil, err
	}
	return p.sender.Begin(ctx, plan)
}

// confirmFirst asks before somebody is paid for the first time.
func (p *paying) confirmFirst(ctx context.Context, question string) error {
	if err := p.keptForNone(ctx); err != nil {
		return err
	}
	return p.confirm(ctx, question)
}

// keptForNone warns of what may be paid a second time.
func (p *paying) keptForNone(ctx context.Context) error {
	list, err := p.sender.KeptForNone(ctx)
	if err != nil || len(list) == 0 {
		return err
	}
	fmt.Fprintf(os.Stderr, "warning: the wallet keeps %s locked for no payment of the database (%s): was an old backup restored, its signer may still send what was exported since, and its payees are paid twice. Otherwise lockunspent of the node lets the wallet use it again\n",
		figures.Things(int64(len(list)), "coin"), list[0])
	return nil
}

func (c *call) payoutSend(ctx context.Context) error {
	return c.pay(ctx, true, func(p *paying) error {
		if err := p.unlocked(ctx); err != nil {
			return err
		}
		var list []payout.Payment
		if len(c.args) > 0 {
			one, err := p.named(ctx)
			if err != nil {
				return err
			}
			if one.State == payout.Planned {
				if err := p.confirmFirst(ctx, fmt.Sprintf("send payment %d, %s?", one.ID, payout.FormatBitcoins(payout.Debits(one.Outputs)))); err != nil {
					return err
				}
			}
			list = []payout.Payment{one}
		} else {
			var err error
			if list, err = p.begin(ctx, "send this?"); err != nil || len(list) == 0 {
				return err
			}
		}
		return p.send(ctx, list)
	})
}

// send sends payments, each on its own, and shows what became of them.
func (p *paying) send(ctx context.Context, list []payout.Payment) error {
	var failed []error
	for i := range list {
		var err error
		now, err := p.sender.Send(ctx, list[i].ID)
		if now.ID != 0 {
			list[i] = now
		}
		if err == nil && list[i].Reason != "" {
			err = fmt.Errorf("payment %d is %s: %s; the bytes are sent again by the running ckdb, or by \"ckdb payout send %d\"", list[i].ID, list[i].State, list[i].Reason, list[i].ID)
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(append([]error{p.printPayments(list)}, failed...)...)
}

// named is the payment whose number is the last argument.
func (p *paying) named(ctx context.Context) (payout.Payment, error) {
	text := p.args[len(p.args)-1]
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return payout.Payment{}, fmt.Errorf("%q is no payment: want its number, \"ckdb payout show\" lists them", text)
	}
	return p.book.Payment(ctx, id)
}

// payment is one as it is shown.
type payment struct {
	Payment       int64  `json:"payment"`
	Run           int64  `json:"run"`
	State         string `json:"state"`
	Debit         int64  `json:"debit"`
	Fee           int64  `json:"network_fee"` // of the version that counts; 0: none is signed
	Payees        int    `json:"payees"`
	Confirmations int64  `json:"confirmations"`
	By            string `json:"by"`
	Txid          string `json:"txid"`
	Reason        string `json:"reason"`
}

// counting is the version that is in the chain, or the newest; nil: none is signed.
func counting(p *payout.Payment) (v *payout.Version) {
	for i := range p.Versions {
		if v = &p.Versions[i]; p.Block != nil && p.Block.Txid == v.Txid {
			break
		}
	}
	return v
}

func paymentOf(p *payout.Payment) payment {
	v := payment{Payment: p.ID, Run: p.Run, State: string(p.State), Debit: payout.Debits(p.Outputs), Payees: len(p.Outputs), By: p.By, Reason: p.Reason}
	if version := counting(p); version != nil {
		v.Txid, v.Fee = version.Txid, version.Fee
	}
	if p.Block != nil {
		v.Confirmations = p.Block.Confirmations
	}
	return v
}

func (c *call) printPayments(list []payout.Payment) error {
	rows := []payment{}
	for i := range list {
		rows = append(rows, paymentOf(&list[i]))
	}
	return c.print(struct {
		Payments []payment `json:"payments"`
	}{rows})
}

// shownPayments is how many a list has.
const shownPayments = 100

func (c *call) payoutShow(ctx context.Context) error {
	return c.with(ctx, func(s *store.Store) error {
		p := &paying{call: c, book: s.Payments()}
		if len(c.args) == 0 {
			list, err := p.book.Last(ctx, shownPayments)
			if err != nil {
				return err
			}
			return c.printPayments(list)
		}
		one, err := p.named(ctx)
		if err != nil {
			return err
		}
		type version struct {
			Txid string `json:"txid"`
			Fee  int64  `json:"network_fee"`
			Size int64  `json:"vbytes"`
			Hex  string `json:"hex,omitempty"`
		}
		answer := struct {
			payment
			Replaces int64          `json:"replaces,omitempty"`
			Block    string         `json:"block"`
			Height   int64          `json:"height,omitempty"`
			Outputs  []plannedPayee `json:"outputs"`
			Versions []version      `json:"versions"`
		}{payment: paymentOf(&one), Replaces: one.Replaces, Outputs: []plannedPayee{}, Versions: []version{}}
		if one.Block != nil {
			answer.Block, answer.Height = one.Block.Hash, one.Block.Height
		}
		for i, o := range one.Outputs {
			amount := o.Amount
			if v := counting(&one); v != nil {
				amount = v.Amounts[i]
			}
			answer.Outputs = append(answer.Outputs, plannedPayee{User: o.Name, Amount: amount, Debit: o.Debit, Address: o.Address})
		}
		for _, v := range one.Versions {
			row := version{Txid: v.Txid, Fee: v.Fee, Size: v.Size}
			if c.json {
				row.Hex = fmt.Sprintf("%x", v.Raw)
			}
			answer.Versions = append(answer.Versions, row)
		}
		return c.print(answer)
	})
}

// payoutExport writes the transactions of a new run, or that of one payment, to files for
// a signer elsewhere.
func (c *call) payoutExport(ctx context.Context) error {
	return c.pay(ctx, true, func(p *paying) error {
		file := c.args[0]
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there already: name another file; nothing was changed", file)
		}
		var list []payout.Payment
		if len(c.args) > 1 {
			one, err := p.named(ctx)
			if err != nil {
				return err
			}
			if one.State == payout.Planned {
				if err := p.keptForNone(ctx); err != nil {
					return err
				}
			}
			list = []payout.Payment{one}
		} else {
			var err error
			if list, err = p.begin(ctx, "write this for its signer?"); err != nil || len(list) == 0 {
				return err
			}
		}
		type exported struct {
			Payment int64  `json:"payment"`
			File    string `json:"file"`
		}
		rows := []exported{}
		for i, one := range list {
			name := file
			if i > 0 {
				name = fmt.Sprintf("%s.%d", file, i+1)
			}
			text, err := p.sender.Export(ctx, one.ID)
			if err == nil {
				err = writeNew(name, text+"\n")
			}
			if err != nil {
				return fmt.Errorf("%w; \"ckdb payout export FILE %d\" writes payment %d", err, one.ID, one.ID)
			}
			rows = append(rows, exported{one.ID, name})
		}
		return p.print(struct {
			Exported []exported `json:"exported"`
		}{rows})
	})
}

// writeNew writes a file that must not be there.
func writeNew(name, text string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// payoutImport takes a signed file, and sends it.
func (c *call) payoutImport(ctx context.Context) error {
	file, err := os.ReadFile(c.args[0])
	if err != nil {
		return err
	}
	return c.pay(ctx, true, func(p *paying) error {
		one, err := p.sender.Exported(ctx, file)
		if err != nil {
			return err
		}
		if err := p.confirm(ctx, fmt.Sprintf("send payment %d, %s?", one.ID, payout.FormatBitcoins(payout.Debits(one.Outputs)))); err != nil {
			return err
		}
		if strings.HasPrefix(string(file), "psbt\xff") { // as nodes want it
			file = []byte(base64.StdEncoding.EncodeToString(file))
		}
		one, err = p.sender.Import(ctx, one.ID, file)
		if err != nil {
			return err
		}
		return p.printPayments([]payout.Payment{one})
	})
}

func (c *call) payoutReplace(ctx context.Context) error {
	return c.pay(ctx, true, func(p *paying) error {
		if err := p.unlocked(ctx); err != nil {
			return err
		}
		one, err := p.named(ctx)
		if err != nil {
			return err
		}
		if err := p.confirm(ctx, fmt.Sprintf("send another transaction for payment %d, %s?", one.ID, payout.FormatBitcoins(payout.Debits(one.Outputs)))); err != nil {
			return err
		}
		payees, err := p.store.Payees(ctx)
		if err != nil {
			return err
		}
		other, err := p.sender.Replace(ctx, one.ID, payees)
		if err != nil {
			return err
		}
		if left := len(one.Outputs) - len(other.Outputs); left > 0 && !p.json {
			fmt.Fprintf(p, "without %s of payment %d: who has it is not to be paid, or not there, any more\n", figures.Things(int64(left), "output"), one.ID)
		}
		return p.send(ctx, []payout.Payment{other})
	})
}

func (c *call) payoutBump(ctx context.Context) error {
	return c.pay(ctx, true, func(p *paying) error {
		one, err := p.named(ctx)
		if err != nil {
			return err
		}
		if err := p.unlocked(ctx); err != nil {
			return err
		}
		rate, err := p.sender.Rate(ctx)
		if err != nil {
			return err
		}
		if err := p.confirm(ctx, fmt.Sprintf("replace the transaction of payment %d by one that pays %d.%03d satoshis per virtual byte?", one.ID, rate/1000, rate%1000)); err != nil {
			return err
		}
		if one, err = p.sender.Bump(ctx, one.ID, rate); err != nil {
			return err
		}
		return p.printPayments([]payout.Payment{one})
	})
}

// bump replaces a payment's transaction by one that pays the rate.
func (p *paying) bump(ctx context.Context, id int64) (payout.Payment, error) {
	rate, err := p.sender.Rate(ctx)
	if err != nil {
		return payout.Payment{}, err
	}
	return p.sender.Bump(ctx, id, rate)
}

// cancel ends a payment.
func (p *paying) cancel(ctx context.Context, id int64) (payout.Payment, error) {
	one, err := p.book.Payment(ctx, id)
	if err == nil && p.sender.Wallet == nil && one.State == payout.Exported {
		err = errNoNode
	}
	if err != nil {
		return one, err
	}
	return p.sender.Cancel(ctx, id)
}

func (c *call) payoutCancel(ctx context.Context) error {
	return c.pay(ctx, false, func(p *paying) error {
		one, err := p.named(ctx)
		if err != nil {
			return err
		}
		if one, err = p.cancel(ctx, one.ID); err != nil {
			return err
		}
		return p.printPayments([]payout.Payment{one})
	})
}

// payoutBook books a spend of the wallet that is no payment.
func (c *call) payoutBook(ctx context.Context) error {
	return c.pay(ctx, true, func(p *paying) error {
		v, err := p.sender.Stranger(ctx, strings.ToLower(c.args[0]))
		if err != nil {
			return err
		}
		one, own, err := p.sender.Adopt(ctx, v)
		if err != nil {
			return err
		}
		if own { // nobody is debited: there is nothing to ask
			return p.printPayments([]payout.Payment{one})
		}
		var addresses []string
		for _, o := range v.Outputs {
			addresses = append(addresses, o.Address)
		}
		accounts, err := p.store.AccountsPaid(ctx, addresses)
		if err != nil {
			return err
		}
		type output struct {
			Amount  int64  `json:"amount"`
			Whose   string `json:"debited"`
			Address string `json:"address"`
		}
		answer := struct {
			Txid    string   `json:"txid"`
			Fee     int64    `json:"network_fee"`
			Outputs []output `json:"outputs"`
		}{v.Txid, v.Fee, []output{}}
		for i := range v.Outputs {
			o := &v.Outputs[i]
			paid := accounts[o.Address]
			o.Account = paid.Number
			whose := "the pool"
			switch {
			case paid.Number != 0:
				whose = paid.Owner.String()
			case paid.Named.Name != "":
				whose += "; " + paid.Named.String() + " names the address and has not proved it"
			}
			answer.Outputs = append(answer.Outputs, output{o.Amount, whose, o.Address})
		}
		if !c.json && !c.yes {
			if err := c.print(answer); err != nil {
				return err
			}
		}
		if err := c.confirm(ctx, "book this?"); err != nil {
			return err
		}
		if err := p.book.BookStranger(ctx, person(), v.Txid, v.Entries()); err != nil {
			return err
		}
		if c.json {
			return c.print(answer)
		}
		_, err = fmt.Fprintln(c, "booked: "+v.Txid)
		return err
	})
}

// accountBalance is what an account is owed.
type accountBalance struct {
	User     string `json:"user"`
	Kind     string `json:"kind"`
	Balance  int64  `json:"balance"`
	Immature int64  `json:"immature"`
}

// accountBalances are the pool's by book, and those of the accounts.
func accountBalances(list []store.BookBalance) (pool map[string]int64, accounts []accountBalance) {
	pool, accounts = map[string]int64{}, []accountBalance{}
	for _, b := range list {
		if b.Owner == (store.Owner{}) {
			pool[string(b.Book)] = b.Amount
			continue
		}
		n := len(accounts)
		if name := cmp.Or(b.Name, b.Owner.Name); n == 0 || accounts[n-1].User != name || accounts[n-1].Kind != string(b.Owner.Kind) {
			accounts = append(accounts, accountBalance{User: name, Kind: string(b.Owner.Kind)})
			n++
		}
		if b.Book == store.Immature {
			accounts[n-1].Immature = b.Amount
		} else {
			accounts[n-1].Balance = b.Amount
		}
	}
	return pool, accounts
}

func (c *call) balances(ctx context.Context) error {
	return c.with(ctx, func(s *store.Store) error {
		list, err := s.Balances(ctx)
		if err != nil {
			return err
		}
		answer := struct {
			Pool     map[string]int64 `json:"pool"`
			Balances []accountBalance `json:"balances"`
		}{}
		answer.Pool, answer.Balances = accountBalances(list)
		if c.json {
			return c.print(answer)
		}
		if len(answer.Balances) == 0 {
			_, err = fmt.Fprintln(c, "nobody is owed anything: no block was rewarded yet")
			return err
		}
		if err := c.print(struct {
			Balances []accountBalance `json:"balances"`
		}{answer.Balances}); err != nil {
			return err
		}
		var sum int64
		for _, b := range answer.Balances {
			sum += b.Balance
		}
		_, err = fmt.Fprintln(c, page.OneLine("owed and mature: "+figures.Bitcoins(sum)+" of "+figures.Things(int64(len(answer.Balances)), "account")))
		return err
	})
}
