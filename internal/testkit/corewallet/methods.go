package corewallet

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
)

// maturity is what Bitcoin Core's wallet waits for.
const maturity = 101

// money is satoshis as Bitcoin Core writes them.
func money(satoshis int64) json.RawMessage {
	sign := ""
	if satoshis < 0 {
		sign, satoshis = "-", -satoshis
	}
	return json.RawMessage(fmt.Sprintf("%s%d.%08d", sign, satoshis/1e8, satoshis%1e8))
}

// satoshis reads a decimal number of at most places decimals, times ten to places.
func satoshis(text json.RawMessage, places int) (int64, error) {
	whole, part, _ := strings.Cut(strings.Trim(string(text), `"`), ".")
	if len(part) > places {
		return 0, refuse(-3, "Invalid amount")
	}
	var n int64
	for _, d := range whole + part + strings.Repeat("0", places-len(part)) {
		if d < '0' || d > '9' || n > 1e17 {
			return 0, refuse(-3, "Invalid amount")
		}
		n = n*10 + int64(d-'0')
	}
	return n, nil
}

func (w *Wallet) own(script []byte) bool { return bytes.Equal(script, w.node.Wallet.Script()) }

func (w *Wallet) balances(_ context.Context, v *view, _ params) (any, error) {
	var trusted, immature int64
	for p, c := range v.coins {
		switch {
		case !w.own(c.PkScript) || v.pool[p] != "":
		case c.coinbase && v.confirmations(c.height) < maturity:
			immature += c.Value
		default:
			trusted += c.Value
		}
	}
	for txid := range v.mempool {
		for _, o := range v.txs[txid].TxOut {
			if w.own(o.PkScript) && v.spends(v.txs[txid], w.node.Wallet.Script()) {
				trusted += o.Value
			}
		}
	}
	return map[string]any{
		"mine":               map[string]any{"trusted": money(trusted), "untrusted_pending": money(0), "immature": money(immature), "nonmempool": money(0)},
		"lastprocessedblock": map[string]any{"hash": w.tipHash(), "height": v.tip},
	}, nil
}

func (w *Wallet) tipHash() string {
	if len(w.blocks) == 0 {
		return ""
	}
	return w.blocks[len(w.blocks)-1].hash
}

// spendable are the wallet's coins it would use, oldest first.
func (w *Wallet) spendable(v *view, confirmations int64) (list []wire.OutPoint) {
	for _, p := range v.order {
		c, ok := v.coins[p]
		_, locked := w.locks[p]
		n := v.confirmations(c.height)
		if ok && !locked && w.own(c.PkScript) && v.pool[p] == "" && n >= confirmations && (!c.coinbase || n >= maturity) {
			list = append(list, p)
		}
	}
	return list
}

func (w *Wallet) listUnspent(_ context.Context, v *view, p params) (any, error) {
	minimum := int64(1)
	if err := p.get(0, &minimum); err != nil {
		return nil, err
	}
	list := []any{}
	for _, at := range w.spendable(v, minimum) {
		c := v.coins[at]
		list = append(list, map[string]any{
			"txid": at.Hash.String(), "vout": at.Index, "address": w.node.Wallet.Address(), "scriptPubKey": hex.EncodeToString(c.PkScript),
			"amount": money(c.Value), "confirmations": v.confirmations(c.height), "spendable": true, "solvable": true, "safe": true,
		})
	}
	return list, nil
}

type outpoint struct {
	Txid string `json:"txid"`
	Vout uint32 `json:"vout"`
}

func (o outpoint) point() (wire.OutPoint, error) {
	var p wire.OutPoint
	err := p.Hash.SetBytes(reversed(o.Txid))
	p.Index = o.Vout
	if err != nil {
		return p, refuse(-8, "txid must be of length 64 (not %d)", len(o.Txid))
	}
	return p, nil
}

func reversed(s string) []byte {
	b, _ := hex.DecodeString(s)
	slices.Reverse(b)
	return b
}

func (w *Wallet) lockUnspent(_ context.Context, v *view, p params) (any, error) {
	var unlock, lasting bool
	var list []outpoint
	if err := errors.Join(p.get(0, &unlock), p.get(1, &list), p.get(2, &lasting)); err != nil {
		return nil, err
	}
	points := make([]wire.OutPoint, len(list))
	for i, o := range list {
		at, err := o.point()
		if err != nil {
			return nil, err
		}
		_, locked := w.locks[at]
		switch {
		case v.txs[o.Txid] == nil:
			return nil, refuse(-8, "Invalid parameter, unknown transaction")
		case int64(o.Vout) >= int64(len(v.txs[o.Txid].TxOut)):
			return nil, refuse(-8, "Invalid parameter, vout index out of bounds")
		case v.mined[at] != "" || v.pool[at] != "":
			return nil, refuse(-8, "Invalid parameter, expected unspent output")
		case unlock && !locked:
			return nil, refuse(-8, "Invalid parameter, expected locked output")
		case !unlock && locked && !lasting:
			return nil, refuse(-8, "Invalid parameter, output already locked")
		}
		points[i] = at
	}
	if unlock && list == nil { // all that are locked
		clear(w.locks)
	}
	for _, at := range points {
		if unlock {
			delete(w.locks, at)
		} else {
			w.locks[at] = lasting
		}
	}
	return true, nil
}

func (w *Wallet) listLockUnspent(_ context.Context, v *view, _ params) (any, error) {
	list := []outpoint{}
	for at := range w.locks {
		if v.mined[at] == "" && v.pool[at] == "" { // a spend ends the lock
			list = append(list, outpoint{at.Hash.String(), at.Index})
		}
	}
	return list, nil
}

func (w *Wallet) addressInfo(_ context.Context, _ *view, p params) (any, error) {
	var text string
	if err := p.get(0, &text); err != nil {
		return nil, err
	}
	a, err := address.Parse(text)
	if err != nil || !a.On(address.Regtest) {
		return nil, refuse(-5, "Invalid or unsupported Segwit (Bech32) or Base58 encoding.")
	}
	mine := w.own(a.Script())
	return map[string]any{"address": text, "scriptPubKey": hex.EncodeToString(a.Script()), "ismine": mine, "solvable": mine, "iswatchonly": false}, nil
}

func (w *Wallet) info(_ context.Context, v *view, _ params) (any, error) {
	info := map[string]any{"walletname": "pool", "format": "sqlite", "private_keys_enabled": true, "descriptors": true, "scanning": false}
	if w.closed {
		info["unlocked_until"] = 0
	}
	return info, nil
}

func (w *Wallet) transaction(_ context.Context, v *view, p params) (any, error) {
	var txid string
	if err := p.get(0, &txid); err != nil {
		return nil, err
	}
	tx := v.txs[txid]
	if tx == nil || !w.mine(v, tx) {
		return nil, refuse(-5, "Invalid or non-wallet transaction id")
	}
	raw, in, out := serialize(tx), int64(0), int64(0)
	for _, i := range tx.TxIn {
		if o := v.out(i.PreviousOutPoint); o != nil {
			in += o.Value
		}
	}
	for _, o := range tx.TxOut {
		out += o.Value
	}
	conflicts, pooled := []string{}, []string{}
	var conflicted int64
	for _, other := range slices.Sorted(maps.Keys(v.txs)) {
		if other == txid || !shares(v.txs[other], tx) {
			continue
		}
		conflicts = append(conflicts, other)
		if v.mempool[other] {
			pooled = append(pooled, other)
		}
		if height, ok := v.place[other]; ok {
			conflicted = v.confirmations(height)
		}
	}
	answer := map[string]any{
		"amount": money(0), "confirmations": 0, "txid": txid, "walletconflicts": conflicts, "mempoolconflicts": pooled,
		"details": []any{}, "hex": hex.EncodeToString(raw),
	}
	if w.sent[txid] != nil {
		answer["fee"] = money(out - in)
	}
	if height, ok := v.place[txid]; ok {
		answer["confirmations"] = v.confirmations(height)
		answer["blockhash"], answer["blockheight"] = w.blocks[height-1].hash, height
	} else if conflicted > 0 {
		answer["confirmations"] = -conflicted
	}
	return answer, nil
}

// mine reports whether the wallet keeps a transaction.
func (w *Wallet) mine(v *view, tx *wire.MsgTx) bool {
	return v.spends(tx, w.node.Wallet.Script()) || slices.ContainsFunc(tx.TxOut, func(o *wire.TxOut) bool { return w.own(o.PkScript) })
}

func shares(a, b *wire.MsgTx) bool {
	return slices.ContainsFunc(a.TxIn, func(x *wire.TxIn) bool {
		return slices.ContainsFunc(b.TxIn, func(y *wire.TxIn) bool { return x.PreviousOutPoint == y.PreviousOutPoint })
	})
}

func (w *Wallet) rawTransaction(_ context.Context, v *view, p params) (any, error) {
	var txid, hint string
	if err := errors.Join(p.get(0, &txid), p.get(2, &hint)); err != nil {
		return nil, err
	}
	height, mined := v.place[txid]
	switch {
	case hint == "" && v.mempool[txid]:
		return map[string]any{"txid": txid, "hex": hex.EncodeToString(serialize(v.txs[txid]))}, nil
	case hint != "" && mined && w.blocks[height-1].hash == hint:
		return map[string]any{
			"in_active_chain": true, "txid": txid, "hex": hex.EncodeToString(serialize(v.txs[txid])),
			"blockhash": hint, "confirmations": v.confirmations(height),
		}, nil
	case hint != "":
		return nil, refuse(-5, "No such transaction found in the provided block. Use gettransaction for wallet transactions.")
	}
	return nil, refuse(-5, "No such mempool transaction. Use -txindex or provide a block hash to enable blockchain transaction queries. Use gettransaction for wallet transactions.")
}

func (w *Wallet) txOut(_ context.Context, v *view, p params) (any, error) {
	var o outpoint
	mempool := true
	if err := errors.Join(p.get(0, &o.Txid), p.get(1, &o.Vout), p.get(2, &mempool)); err != nil {
		return nil, err
	}
	at, err := o.point()
	if err != nil {
		return nil, err
	}
	c, ok := v.coins[at]
	confirmations := v.confirmations(c.height)
	if !ok && mempool && v.mempool[o.Txid] {
		out := v.out(at)
		c, ok, confirmations = coin{TxOut: out}, out != nil, 0
	}
	if !ok || mempool && v.pool[at] != "" {
		return nil, nil
	}
	return map[string]any{
		"bestblock": w.tipHash(), "confirmations": confirmations, "value": money(c.Value),
		"scriptPubKey": map[string]any{"hex": hex.EncodeToString(c.PkScript)}, "coinbase": c.coinbase,
	}, nil
}

func (w *Wallet) estimate(context.Context, *view, params) (any, error) {
	if w.rate == 0 {
		return map[string]any{"errors": []string{"Insufficient data or no feerate found"}, "blocks": 0}, nil
	}
	return map[string]any{"feerate": money(w.rate), "blocks": 6}, nil
}

func (w *Wallet) send(ctx context.Context, v *view, p params) (any, error) {
	var text string
	if err := p.get(0, &text); err != nil {
		return nil, err
	}
	tx, err := decode(text)
	if err != nil {
		return nil, err
	}
	hash := tx.TxHash()
	if v.mempool[hash.String()] {
		return hash.String(), nil
	}
	for i := range tx.TxOut {
		if _, ok := v.coins[wire.OutPoint{Hash: hash, Index: uint32(i)}]; ok {
			return nil, refuse(-27, "Transaction outputs already in utxo set")
		}
	}
	if err := missing(v, tx); err != nil {
		return nil, refuse(-25, "%s", err)
	}
	if _, err := w.node.SendRawTransaction(ctx, tx); err != nil {
		if e, ok := errors.AsType[*btcd.RPCError](err); ok {
			return nil, refuse(-26, "%s", e.Message)
		}
		return nil, err
	}
	w.sent[hash.String()] = tx
	for _, in := range tx.TxIn {
		delete(w.locks, in.PreviousOutPoint)
	}
	return hash.String(), nil
}

// missing says that an input is not there.
func missing(v *view, tx *wire.MsgTx) error {
	for _, in := range tx.TxIn {
		if _, ok := v.coins[in.PreviousOutPoint]; !ok && (!v.mempool[in.PreviousOutPoint.Hash.String()] || v.out(in.PreviousOutPoint) == nil) {
			return errors.New("bad-txns-inputs-missingorspent")
		}
	}
	return nil
}

func (w *Wallet) testAccept(ctx context.Context, v *view, p params) (any, error) {
	var list []string
	if err := p.get(0, &list); err != nil {
		return nil, err
	}
	if len(list) != 1 {
		return nil, refuse(-8, "Array must contain one transaction")
	}
	tx, err := decode(list[0])
	if err != nil {
		return nil, err
	}
	txid := tx.TxHash().String()
	reason := ""
	switch {
	case v.mempool[txid]:
		reason = "txn-already-in-mempool"
	case missing(v, tx) != nil:
		reason = "missing-inputs"
	default:
		var verdicts []struct {
			Allowed bool   `json:"allowed"`
			Reason  string `json:"reject-reason"`
		}
		if err := w.node.Call(ctx, &verdicts, "testmempoolaccept", list, 0); err != nil {
			return nil, err
		}
		if len(verdicts) == 1 && !verdicts[0].Allowed {
			reason = verdicts[0].Reason
		}
	}
	verdict := map[string]any{"txid": txid, "wtxid": tx.WitnessHash().String(), "allowed": reason == ""}
	if reason != "" {
		verdict["reject-reason"], verdict["reject-details"] = reason, reason
	}
	return []any{verdict}, nil
}

func (w *Wallet) sinceBlock(ctx context.Context, v *view, p params) (any, error) {
	var since string
	target, removed, change := int64(1), true, false
	if err := errors.Join(p.get(0, &since), p.get(1, &target), p.get(3, &removed), p.get(4, &change)); err != nil {
		return nil, err
	}
	if target < 1 {
		return nil, refuse(-8, "Invalid parameter")
	}
	var genesis string
	if err := w.node.Call(ctx, &genesis, "getblockhash", 0); err != nil {
		return nil, err
	}
	from := int64(0)
	for since != "" && since != genesis && from == 0 {
		if from = int64(slices.IndexFunc(w.blocks, func(b block) bool { return b.hash == since })) + 1; from > 0 {
			break
		}
		// Of a block that is not in the chain any more, from where it left it.
		left, err := w.node.Block(ctx, since)
		if err != nil {
			return nil, refuse(-5, "Block not found")
		}
		since = left.Header.PrevBlock.String()
	}
	list := []any{}
	for _, txid := range slices.Sorted(maps.Keys(v.txs)) {
		tx, height := v.txs[txid], v.place[txid]
		if !v.spends(tx, w.node.Wallet.Script()) || height > 0 && height <= from {
			continue
		}
		confirmations := int64(0)
		if height > 0 {
			confirmations = v.confirmations(height)
		}
		for i, o := range tx.TxOut {
			if change || !w.own(o.PkScript) {
				list = append(list, map[string]any{"category": "send", "amount": money(-o.Value), "vout": i, "txid": txid, "confirmations": confirmations, "abandoned": false})
			}
		}
	}
	last := genesis
	if at := v.tip - target + 1; at >= 1 {
		last = w.blocks[at-1].hash
	}
	answer := map[string]any{"transactions": list, "lastblock": last}
	if removed {
		answer["removed"] = []any{}
	}
	return answer, nil
}

func (w *Wallet) fetch(ctx context.Context, txid string) (*wire.MsgTx, error) {
	var text string
	if err := w.node.Call(ctx, &text, "getrawtransaction", txid, 0); err != nil {
		return nil, err
	}
	return decode(text)
}

func decode(text string) (*wire.MsgTx, error) {
	raw, err := hex.DecodeString(text)
	tx := new(wire.MsgTx)
	if err != nil || tx.Deserialize(bytes.NewReader(raw)) != nil {
		return nil, refuse(-22, "TX decode failed. Make sure the tx has at least one input.")
	}
	return tx, nil
}

func serialize(tx *wire.MsgTx) []byte {
	var b bytes.Buffer
	_ = tx.Serialize(&b)
	return b.Bytes()
}
