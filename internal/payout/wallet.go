package payout

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/internal/payout/psbt"
)

// Node is what is asked of a node with a wallet: a [bitcoind.Client] whose URL ends with
// the wallet's path, as /wallet/pool, where the node has more than one.
type Node interface {
	Call(ctx context.Context, result any, method string, params ...any) error
}

// Wallet is the node's wallet over JSON-RPC, as Bitcoin Core 25 and later has it.
type Wallet struct {
	node    Node
	network address.Network
}

// NewWallet is the wallet of a node on a network.
func NewWallet(node Node, n address.Network) *Wallet { return &Wallet{node, n} }

// Error codes of Bitcoin Core.
const (
	codeMisc         = -1
	codeWallet       = -4
	codeNotFound     = -5
	codeFunds        = -6
	codeParameter    = -8
	codeLocked       = -13
	codePassphrase   = -14
	codeNoWallet     = -18
	codeWhichWallet  = -19
	codeVerify       = -25
	codeRejected     = -26
	codeInChain      = -27
	codeStarting     = -28
	codeNoSuchMethod = -32601
)

// code is that of a node's own error answer, 0 of every other error: the node did not
// answer, or something between did.
func code(err error) int {
	if e, ok := errors.AsType[*bitcoind.RPCError](err); ok {
		return e.Code
	}
	return 0
}

// what an operator can do about error codes.
var remedy = map[int]string{
	codeFunds:       "nothing was changed: wait for coins to mature, or pay less",
	codeLocked:      "unlock it with walletpassphrase of the node, and run the command again",
	codePassphrase:  "the passphrase is wrong",
	codeNoWallet:    "load it with loadwallet of the node, or name the right one",
	codeWhichWallet: "the node has several wallets: name the pool's at the end of the node's url, as /wallet/pool",
	codeStarting:    "the node is starting: try again in a moment",
}

func explain(err error) error {
	if err == nil {
		return nil
	}
	c := code(err)
	how := remedy[c]
	if c == codeWallet && strings.Contains(err.Error(), "Insufficient funds") {
		how = remedy[codeFunds]
	}
	if how == "" {
		return fmt.Errorf("payout: %w", err)
	}
	return fmt.Errorf("payout: %w: %s", err, how)
}

func (w *Wallet) call(ctx context.Context, result any, method string, params ...any) error {
	return explain(w.node.Call(ctx, result, method, params...))
}

// Funded is an unsigned transaction that the wallet made.
type Funded struct {
	PSBT   string // base64
	Packet *psbt.Packet
}

// Fund makes a transaction with the outputs of a payment in their order, a change
// output at their end, and inputs that are confirmed; with is inputs it must have. Fee
// rates are satoshis per 1000 vbytes. Nothing is locked.
func (w *Wallet) Fund(ctx context.Context, outputs []Output, with []wire.OutPoint, rate int64, payeesPay bool) (*Funded, error) {
	inputs := make([]any, 0, len(with))
	for _, p := range with {
		inputs = append(inputs, map[string]any{"txid": p.Hash.String(), "vout": p.Index})
	}
	// A list of objects, for their order. An address that came twice would be refused.
	amounts, subtract := make([]any, 0, len(outputs)), []int{}
	for i, o := range outputs {
		amounts = append(amounts, map[string]Bitcoins{o.Address: Bitcoins(o.Debit)})
		if payeesPay {
			subtract = append(subtract, i)
		}
	}
	options := map[string]any{
		"fee_rate": rateText(rate), "subtractFeeFromOutputs": subtract, "replaceable": true,
		"lockUnspents": false, "changePosition": len(outputs), "add_inputs": true, "minconf": 1,
	}
	var raw struct {
		PSBT string `json:"psbt"`
	}
	// Many signers read version 0 alone. Nodes to v30 make no other and do not know
	// the parameter.
	err := w.node.Call(ctx, &raw, "walletcreatefundedpsbt", inputs, amounts, 0, options, true, 0)
	if c := code(err); c == codeParameter || c == codeMisc {
		if again := w.node.Call(ctx, &raw, "walletcreatefundedpsbt", inputs, amounts, 0, options, true); again == nil || code(err) == codeMisc {
			err = again
		}
	}
	if err != nil {
		return nil, explain(err)
	}
	return funded(raw.PSBT)
}

func funded(text string) (*Funded, error) {
	p, err := psbt.Decode([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("payout: the node's %w", err)
	}
	return &Funded{text, p}, nil
}

// rateText is a rate in satoshis per vbyte, which has at most three decimals.
func rateText(rate int64) json.RawMessage {
	return json.RawMessage(fmt.Sprintf("%d.%03d", rate/1000, rate%1000))
}

// Sign has the wallet sign; the result is the whole transaction, or an error where the
// wallet has not all keys.
func (w *Wallet) Sign(ctx context.Context, text string) ([]byte, error) {
	var raw struct {
		PSBT     string `json:"psbt"`
		Complete bool   `json:"complete"`
	}
	if err := w.call(ctx, &raw, "walletprocesspsbt", text); err != nil {
		return nil, err
	}
	if !raw.Complete {
		return nil, errors.New("payout: the wallet has not all keys to sign with: write the transaction to a file for its signer")
	}
	return w.Finalize(ctx, raw.PSBT)
}

// Finalize makes the transaction of a PSBT that is signed.
func (w *Wallet) Finalize(ctx context.Context, text string) ([]byte, error) {
	p, err := psbt.Decode([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("payout: %w", err)
	}
	if tx, ok := p.Final(); ok {
		return serialize(tx), nil
	}
	var raw struct {
		Hex      string `json:"hex"`
		Complete bool   `json:"complete"`
	}
	// Nodes want it in one piece, files have ends of lines.
	if err := w.call(ctx, &raw, "finalizepsbt", strings.Join(strings.Fields(text), "")); err != nil {
		return nil, err
	}
	if !raw.Complete {
		return nil, errors.New("payout: the PSBT is not signed to the end: signatures are missing")
	}
	return unhex("finalizepsbt", raw.Hex)
}

// Bump makes a replacement of a transaction of the wallet with another fee rate, not
// signed.
func (w *Wallet) Bump(ctx context.Context, txid string, rate int64) (*Funded, error) {
	var raw struct {
		PSBT   string   `json:"psbt"`
		Errors []string `json:"errors"`
	}
	if err := w.call(ctx, &raw, "psbtbumpfee", txid, map[string]any{"fee_rate": rateText(rate), "replaceable": true}); err != nil {
		return nil, err
	}
	if len(raw.Errors) > 0 {
		return nil, fmt.Errorf("payout: psbtbumpfee: %s", strings.Join(raw.Errors, "; "))
	}
	return funded(raw.PSBT)
}

// Balances of the wallet, in satoshis.
type Balances struct{ Trusted, Pending, Immature int64 }

// Balances asks what the wallet has.
func (w *Wallet) Balances(ctx context.Context) (Balances, error) {
	var raw struct {
		Mine struct {
			Trusted  *Bitcoins `json:"trusted"`
			Pending  Bitcoins  `json:"untrusted_pending"`
			Immature Bitcoins  `json:"immature"`
		} `json:"mine"`
	}
	if err := w.call(ctx, &raw, "getbalances"); err != nil {
		return Balances{}, err
	}
	if raw.Mine.Trusted == nil {
		return Balances{}, errors.New("payout: getbalances: the answer has no balance")
	}
	return Balances{int64(*raw.Mine.Trusted), int64(raw.Mine.Pending), int64(raw.Mine.Immature)}, nil
}

// Unspent are the outputs the wallet could spend, with at least so many confirmations.
func (w *Wallet) Unspent(ctx context.Context, confirmations int64) ([]Input, error) {
	var raw []struct {
		Txid          string   `json:"txid"`
		Vout          uint32   `json:"vout"`
		Amount        Bitcoins `json:"amount"`
		Script        string   `json:"scriptPubKey"`
		Confirmations int64    `json:"confirmations"`
	}
	if err := w.call(ctx, &raw, "listunspent", confirmations, 9_999_999, []string{}, false); err != nil {
		return nil, err
	}
	list := make([]Input, 0, len(raw))
	for _, r := range raw {
		hash, err := chainhash.NewHashFromStr(r.Txid)
		if err != nil {
			return nil, fmt.Errorf("payout: listunspent: %w", err)
		}
		script, err := unhex("listunspent", r.Script)
		if err != nil {
			return nil, err
		}
		list = append(list, Input{wire.OutPoint{Hash: *hash, Index: r.Vout}, int64(r.Amount), script})
	}
	return list, nil
}

// Lock keeps the wallet from using outputs for something else, over its restart too, or
// lets it. What is so already stays so.
func (w *Wallet) Lock(ctx context.Context, inputs []wire.OutPoint, locked bool) error {
	for _, in := range inputs { // one by one, as one that is so already refuses all
		list := []any{map[string]any{"txid": in.Hash.String(), "vout": in.Index}}
		var err error
		if locked {
			err = w.node.Call(ctx, nil, "lockunspent", false, list, true)
		} else {
			err = w.node.Call(ctx, nil, "lockunspent", true, list)
		}
		// Spent or unknown outputs need no lock.
		if err != nil && code(err) != codeParameter {
			return explain(err)
		}
	}
	return nil
}

// Kept are the outputs that Lock keeps from being used, and those that a person does.
func (w *Wallet) Kept(ctx context.Context) ([]wire.OutPoint, error) {
	var raw []struct {
		Txid string `json:"txid"`
		Vout uint32 `json:"vout"`
	}
	if err := w.call(ctx, &raw, "listlockunspent"); err != nil {
		return nil, err
	}
	list := make([]wire.OutPoint, 0, len(raw))
	for _, r := range raw {
		hash, err := chainhash.NewHashFromStr(r.Txid)
		if err != nil {
			return nil, fmt.Errorf("payout: listlockunspent: %w", err)
		}
		list = append(list, wire.OutPoint{Hash: *hash, Index: r.Vout})
	}
	return list, nil
}

// Locked tells that the wallet is encrypted and cannot sign now.
func (w *Wallet) Locked(ctx context.Context) (bool, error) {
	var raw struct {
		Until *int64 `json:"unlocked_until"`
	}
	err := w.call(ctx, &raw, "getwalletinfo")
	return raw.Until != nil && *raw.Until == 0, err
}

// Own reports whether an output script is the wallet's.
func (w *Wallet) Own(ctx context.Context, script []byte) (bool, error) {
	a, err := address.FromScript(script, w.network)
	if err != nil {
		return false, nil
	}
	var raw struct {
		Mine bool `json:"ismine"`
	}
	err = w.call(ctx, &raw, "getaddressinfo", a.String())
	return raw.Mine, err
}

// Rate is the node's estimate for confirmation within so many blocks, in satoshis per
// 1000 vbytes. A node without one is an error: no rate is invented.
func (w *Wallet) Rate(ctx context.Context, blocks int) (int64, error) {
	var raw struct {
		Rate   *Bitcoins `json:"feerate"`
		Errors []string  `json:"errors"`
	}
	if err := w.call(ctx, &raw, "estimatesmartfee", blocks); err != nil {
		return 0, err
	}
	if raw.Rate == nil || *raw.Rate <= 0 {
		return 0, fmt.Errorf("payout: the node has no estimate of the fee rate (%s): name one with --fee-rate", strings.Join(raw.Errors, "; "))
	}
	return int64(*raw.Rate), nil
}

// Accepted asks whether the node would take a transaction now: "" if so or if it has it
// already, else its reason.
func (w *Wallet) Accepted(ctx context.Context, raw []byte) (string, error) {
	var list []struct {
		Allowed bool   `json:"allowed"`
		Reason  string `json:"reject-reason"`
	}
	if err := w.call(ctx, &list, "testmempoolaccept", []string{hex.EncodeToString(raw)}); err != nil {
		return "", err
	}
	if len(list) != 1 || !list[0].Allowed && list[0].Reason == "" {
		return "", errors.New("payout: testmempoolaccept: the answer has no verdict")
	}
	if list[0].Allowed || list[0].Reason == "txn-already-in-mempool" || list[0].Reason == "txn-already-known" {
		return "", nil
	}
	return list[0].Reason, nil
}

// Verdict is what became of bytes that were sent.
type Verdict uint8

// Verdicts.
const (
	Unclear Verdict = iota // nobody knows whether the node took them
	Taken                  // in its mempool
	Mined                  // in its chain
	Refused                // this node did not take them, now
)

// Send hands a signed transaction to the node. The reason is the node's, or why there
// is no clear answer.
func (w *Wallet) Send(ctx context.Context, raw []byte, txid string) (Verdict, string) {
	var got string
	err := w.node.Call(ctx, &got, "sendrawtransaction", hex.EncodeToString(raw))
	switch c := code(err); {
	case err == nil && got == txid:
		return Taken, ""
	case err == nil:
		return Unclear, fmt.Sprintf("the node names txid %q", got)
	case c == codeInChain && strings.Contains(err.Error(), "mempool"): // nodes before v22, btcd
		return Taken, ""
	case c == codeInChain:
		return Mined, err.Error()
	case c == codeVerify || c == codeRejected || c == -22:
		return Refused, err.Error()
	}
	// All else, other codes too: a proxy or a node that is ending may say anything.
	return Unclear, err.Error()
}

// Coin is an unspent output of the chain, as the node has it.
type Coin struct {
	Value         int64
	Script        []byte
	Confirmations int64
	Coinbase      bool
}

// Coin asks for an output; nil: it is spent or not there. With mempool, what is spent by
// a transaction there is spent.
func (w *Wallet) Coin(ctx context.Context, p wire.OutPoint, mempool bool) (*Coin, error) {
	var raw *struct {
		Value  Bitcoins `json:"value"`
		Script struct {
			Hex string `json:"hex"`
		} `json:"scriptPubKey"`
		Confirmations int64 `json:"confirmations"`
		Coinbase      bool  `json:"coinbase"`
	}
	if err := w.call(ctx, &raw, "gettxout", p.Hash.String(), p.Index, mempool); err != nil || raw == nil {
		return nil, err
	}
	script, err := unhex("gettxout", raw.Script.Hex)
	if err != nil {
		return nil, err
	}
	return &Coin{int64(raw.Value), script, raw.Confirmations, raw.Coinbase}, nil
}

// Seen is what the node knows of a transaction.
type Seen struct {
	Known         bool
	Confirmations int64  // negative: so deep is the block that has a conflicting one
	Block         string // hash, as displayed; "" in none
	Height        int64  // 0: not said
	Raw           []byte // nil: not said
	Conflicts     []string
}

// Seen asks for a transaction, of the wallet first; block is the hash of one it was in,
// "" for none.
func (w *Wallet) Seen(ctx context.Context, txid, block string) (Seen, error) {
	var raw struct {
		Confirmations int64    `json:"confirmations"`
		Block         string   `json:"blockhash"`
		Height        int64    `json:"blockheight"`
		Hex           string   `json:"hex"`
		Conflicts     []string `json:"walletconflicts"`
		Active        *bool    `json:"in_active_chain"`
	}
	err := w.call(ctx, &raw, "gettransaction", txid, nil, false)
	if code(err) == codeNotFound { // not the wallet's
		params := []any{txid, true}
		if block != "" {
			params = append(params, block)
		}
		if err = w.call(ctx, &raw, "getrawtransaction", params...); code(err) == codeNotFound {
			return Seen{}, nil
		}
	}
	if err != nil {
		return Seen{}, err
	}
	if raw.Active != nil && !*raw.Active {
		return Seen{}, nil // in a block that is no longer of the chain
	}
	tx, err := unhex("gettransaction", raw.Hex)
	if err != nil {
		return Seen{}, err
	}
	return Seen{true, raw.Confirmations, raw.Block, raw.Height, tx, raw.Conflicts}, nil
}

// young is how many blocks of the chain are read again the next time. One that leaves the
// chain later does no harm: the node then lists from where the chain parted.
const young = 6

// Spends are the txids of what the wallet sent since a block, and the block to go on
// from: some blocks back, see young. "" is the beginning. What went to nobody but the
// wallet is there with change alone.
func (w *Wallet) Spends(ctx context.Context, since string, change bool) (txids []string, next string, err error) {
	var raw struct {
		Transactions []struct {
			Txid          string `json:"txid"`
			Category      string `json:"category"`
			Confirmations int64  `json:"confirmations"`
			Abandoned     bool   `json:"abandoned"`
		} `json:"transactions"`
		Last string `json:"lastblock"`
	}
	err = w.call(ctx, &raw, "listsinceblock", since, young, true, false, change)
	if code(err) == codeNotFound && since != "" { // a block that the node does not have
		return w.Spends(ctx, "", change)
	}
	if err != nil {
		return nil, "", err
	}
	seen := map[string]bool{}
	for _, t := range raw.Transactions {
		if t.Category == "send" && t.Confirmations >= 0 && !t.Abandoned && !seen[t.Txid] {
			seen[t.Txid] = true
			txids = append(txids, t.Txid)
		}
	}
	return txids, raw.Last, nil
}

// Height is that of the node's tip.
func (w *Wallet) Height(ctx context.Context) (int64, error) {
	var n int64
	err := w.call(ctx, &n, "getblockcount")
	return n, err
}

// BlockHash is that of the chain's block at a height, as displayed.
func (w *Wallet) BlockHash(ctx context.Context, height int64) (string, error) {
	var hash string
	err := w.call(ctx, &hash, "getblockhash", height)
	return hash, err
}

func unhex(method, s string) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("payout: %s: the answer is not hex", method)
	}
	return b, nil
}

func serialize(tx *wire.MsgTx) []byte {
	var b bytes.Buffer
	_ = tx.Serialize(&b) // a buffer takes everything
	return b.Bytes()
}
