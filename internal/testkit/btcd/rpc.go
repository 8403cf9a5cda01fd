package btcd

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/btcsuite/btcd/wire/v2"
)

// RPCError is an error answer of the node.
type RPCError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *RPCError) Error() string { return fmt.Sprintf("btcd: error %d: %s", e.Code, e.Message) }

// Call makes one RPC; result may be nil.
func (n *Node) Call(ctx context.Context, result any, method string, params ...any) error {
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "1.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+n.RPC+"/", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	req.SetBasicAuth(n.User, n.Pass)
	req.Header.Set("Content-Type", "application/json")
	resp, err := n.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	defer resp.Body.Close()
	var reply struct {
		Result json.RawMessage `json:"result"`
		Error  *RPCError       `json:"error"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil {
		return fmt.Errorf("%s: %s: %w", method, resp.Status, err)
	}
	if reply.Error != nil {
		return fmt.Errorf("%s: %w", method, reply.Error)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(reply.Result, result); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// BlockCount is the height of the best chain.
func (n *Node) BlockCount(ctx context.Context) (int64, error) {
	var height int64
	err := n.Call(ctx, &height, "getblockcount")
	return height, err
}

// BlockHash is the hash, as displayed, of the block of the best chain at height.
func (n *Node) BlockHash(ctx context.Context, height int64) (string, error) {
	var hash string
	err := n.Call(ctx, &hash, "getblockhash", height)
	return hash, err
}

// BestBlockHash is the hash of the tip, as displayed.
func (n *Node) BestBlockHash(ctx context.Context) (string, error) {
	var hash string
	err := n.Call(ctx, &hash, "getbestblockhash")
	return hash, err
}

// Block is the whole block with this hash, witnesses included.
func (n *Node) Block(ctx context.Context, hash string) (*wire.MsgBlock, error) {
	var raw string
	if err := n.Call(ctx, &raw, "getblock", hash, 0); err != nil {
		return nil, err
	}
	b, err := hex.DecodeString(raw)
	if err != nil {
		return nil, fmt.Errorf("getblock: %w", err)
	}
	block := new(wire.MsgBlock)
	if err := block.Deserialize(bytes.NewReader(b)); err != nil {
		return nil, fmt.Errorf("getblock: %w", err)
	}
	return block, nil
}

// BlockAt is the block of the best chain at height.
func (n *Node) BlockAt(ctx context.Context, height int64) (*wire.MsgBlock, error) {
	hash, err := n.BlockHash(ctx, height)
	if err != nil {
		return nil, err
	}
	return n.Block(ctx, hash)
}

// SubmitBlock hands a block to the node: "" means taken, though perhaps not on
// the best chain; anything else is btcd's reason for refusing it.
func (n *Node) SubmitBlock(ctx context.Context, block *wire.MsgBlock) (string, error) {
	var b bytes.Buffer
	if err := block.Serialize(&b); err != nil {
		return "", fmt.Errorf("submitblock: %w", err)
	}
	var verdict string
	err := n.Call(ctx, &verdict, "submitblock", hex.EncodeToString(b.Bytes()))
	return verdict, err
}

// SendRawTransaction puts a transaction into the mempool and returns its txid,
// as displayed.
func (n *Node) SendRawTransaction(ctx context.Context, tx *wire.MsgTx) (string, error) {
	var b bytes.Buffer
	if err := tx.Serialize(&b); err != nil {
		return "", fmt.Errorf("sendrawtransaction: %w", err)
	}
	var txid string
	err := n.Call(ctx, &txid, "sendrawtransaction", hex.EncodeToString(b.Bytes()))
	return txid, err
}
