// Package corewallet is Bitcoin Core's wallet on top of a btcd node, which has none: the
// wallet's RPC in the form Bitcoin Core answers, over one real key and a real chain. It
// really funds, signs, bumps and locks; what is not the wallet's goes to btcd, put into
// Bitcoin Core's form where that differs. It knows nothing of the pool.
package corewallet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"github.com/ckpool/ckpool/internal/testkit/btcd"
)

// Wallet is an http.Handler that answers as a node with a wallet named pool, at / and at
// /wallet/pool. Its coins are those of the node's own wallet.
type Wallet struct {
	node *btcd.Node

	// guarded by mu
	mu     sync.Mutex
	blocks []block                // of the best chain, from height 1
	sent   map[string]*wire.MsgTx // by txid: what went through here
	locks  map[wire.OutPoint]bool // true: also over a restart
	closed bool                   // encrypted, and not unlocked
	rate   int64                  // estimate in satoshis per 1000 vbytes; 0: none
	old    bool                   // no PSBT version 2, as before v31
}

type block struct {
	hash string
	txs  []*wire.MsgTx
	ids  []chainhash.Hash // of txs
}

// New is the wallet of a node. User and password of its RPC are not asked for.
func New(node *btcd.Node) *Wallet {
	return &Wallet{node: node, sent: map[string]*wire.MsgTx{}, locks: map[wire.OutPoint]bool{}}
}

// SetLocked makes signing fail until the wallet is unlocked.
func (w *Wallet) SetLocked(locked bool) { w.set(func() { w.closed = locked }) }

// SetRate is the estimate of the fee rate, in satoshis per 1000 vbytes; 0: none.
func (w *Wallet) SetRate(rate int64) { w.set(func() { w.rate = rate }) }

// SetOld makes it a node before v31, that knows PSBT version 0 alone.
func (w *Wallet) SetOld(old bool) { w.set(func() { w.old = old }) }

func (w *Wallet) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// rpcError is an error answer.
type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *rpcError) Error() string { return e.Message }

func refuse(code int, format string, args ...any) error {
	return &rpcError{code, fmt.Sprintf(format, args...)}
}

// params of a call.
type params []json.RawMessage

// get decodes parameter i; one that is not there or null changes nothing.
func (p params) get(i int, into any) error {
	if i >= len(p) || string(p[i]) == "null" {
		return nil
	}
	if err := json.Unmarshal(p[i], into); err != nil {
		return refuse(-3, "JSON value of parameter %d is not of expected type", i+1)
	}
	return nil
}

// ServeHTTP answers one call.
func (w *Wallet) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	var call struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params params          `json:"params"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(out, r.Body, 16<<20)).Decode(&call); err != nil {
		http.Error(out, `{"result":null,"error":{"code":-32700,"message":"Parse error"},"id":null}`, http.StatusInternalServerError)
		return
	}
	result, err := w.call(r.Context(), r.URL.Path, call.Method, call.Params)
	reply := struct {
		Result any             `json:"result"`
		Error  *rpcError       `json:"error"`
		ID     json.RawMessage `json:"id"`
	}{result, nil, call.ID}
	status := http.StatusOK
	if err != nil {
		status = http.StatusInternalServerError
		reply.Result = nil
		if e, ok := errors.AsType[*rpcError](err); ok {
			reply.Error = e
		} else if e, ok := errors.AsType[*btcd.RPCError](err); ok {
			reply.Error = &rpcError{e.Code, e.Message}
		} else {
			reply.Error = &rpcError{-1, err.Error()}
		}
	}
	out.Header().Set("Content-Type", "application/json")
	out.WriteHeader(status)
	_ = json.NewEncoder(out).Encode(reply)
}

type handler func(*Wallet, context.Context, *view, params) (any, error)

var handlers = map[string]handler{
	"getbalances":            (*Wallet).balances,
	"listunspent":            (*Wallet).listUnspent,
	"walletcreatefundedpsbt": (*Wallet).fund,
	"walletprocesspsbt":      (*Wallet).process,
	"finalizepsbt":           (*Wallet).finalize,
	"psbtbumpfee":            (*Wallet).bump,
	"lockunspent":            (*Wallet).lockUnspent,
	"listlockunspent":        (*Wallet).listLockUnspent,
	"getaddressinfo":         (*Wallet).addressInfo,
	"getwalletinfo":          (*Wallet).info,
	"gettransaction":         (*Wallet).transaction,
	"getrawtransaction":      (*Wallet).rawTransaction,
	"gettxout":               (*Wallet).txOut,
	"estimatesmartfee":       (*Wallet).estimate,
	"sendrawtransaction":     (*Wallet).send,
	"testmempoolaccept":      (*Wallet).testAccept,
	"listsinceblock":         (*Wallet).sinceBlock,
}

func (w *Wallet) call(ctx context.Context, path, method string, p params) (any, error) {
	if name, ok := strings.CutPrefix(path, "/wallet/"); ok && name != "pool" {
		return nil, refuse(-18, "Requested wallet does not exist or is not loaded")
	}
	h, ok := handlers[method]
	if !ok {
		list := make([]any, len(p))
		for i := range p {
			list[i] = p[i]
		}
		var result json.RawMessage
		err := w.node.Call(ctx, &result, method, list...)
		return result, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	v, err := w.look(ctx)
	if err != nil {
		return nil, err
	}
	return h(w, ctx, v, p)
}
