package bitcoind

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"math/big"

	"github.com/ckpool/ckpool/work"
)

// BlockHash is the hash of the block at height in the node's active chain.
func (c *Client) BlockHash(ctx context.Context, height int64) ([32]byte, error) {
	return c.hash(ctx, "getblockhash", height)
}

// BestBlockHash is the hash of the node's tip.
func (c *Client) BestBlockHash(ctx context.Context) ([32]byte, error) {
	return c.hash(ctx, "getbestblockhash")
}

// BlockCount is the height of the node's tip.
func (c *Client) BlockCount(ctx context.Context) (int64, error) {
	var n int64
	err := c.Call(ctx, &n, "getblockcount")
	return n, err
}

func (c *Client) hash(ctx context.Context, method string, params ...any) ([32]byte, error) {
	var h displayHash
	err := c.Call(ctx, &h, method, params...)
	if err == nil && h == (displayHash{}) {
		err = c.wrap(method, &replyError{"unexpected result: not a hash"})
	}
	return h, err
}

// RawTransaction is a transaction of the node's mempool as it stands in a block; nodes with
// an index of all give those of blocks too.
func (c *Client) RawTransaction(ctx context.Context, txid [32]byte) ([]byte, error) {
	const method = "getrawtransaction"
	var text string
	if err := c.Call(ctx, &text, method, displayHash(txid).String()); err != nil {
		return nil, err
	}
	data, err := hex.DecodeString(text)
	if err != nil || len(data) == 0 {
		return nil, c.wrap(method, &replyError{"unexpected result: not the hex of a transaction"})
	}
	return data, nil
}

// SendRawTransaction hands the node a transaction, as it stands in a block, for its mempool and
// its peers. One that it knows already, or that its rules refuse, is an *RPCError.
func (c *Client) SendRawTransaction(ctx context.Context, data []byte) error {
	return c.Call(ctx, nil, "sendrawtransaction", hex.EncodeToString(data))
}

// displayHash reads a hash as nodes print it: hex, reversed.
type displayHash [32]byte

func (h *displayHash) UnmarshalText(text []byte) (err error) {
	*h, err = work.ParseHash(string(text))
	return err
}

func (h displayHash) String() string { return work.FormatHash(h) }

// ChainInfo is what a node says of its chain. What it does not say is unknown.
type ChainInfo struct {
	Chain                string   // as Bitcoin Core names it: main, test, testnet4, signet, regtest; "" unknown
	Blocks, Headers      int64    // heights; -1 unknown
	BestBlockHash        [32]byte // zero unknown
	ChainWork            *big.Int // nil unknown
	InitialBlockDownload *bool    // nil unknown
	SignetChallenge      string   // hex; "" unknown or no signet
}

// ChainInfo calls getblockchaininfo.
func (c *Client) ChainInfo(ctx context.Context) (ChainInfo, error) {
	var raw struct {
		Chain                string       `json:"chain"`
		Blocks               *int64       `json:"blocks"`
		Headers              *int64       `json:"headers"`
		BestBlockHash        *displayHash `json:"bestblockhash"`
		ChainWork            string       `json:"chainwork"`
		InitialBlockDownload *bool        `json:"initialblockdownload"`
		SignetChallenge      string       `json:"signet_challenge"`
	}
	info := ChainInfo{Blocks: -1, Headers: -1}
	if err := c.Call(ctx, &raw, "getblockchaininfo"); err != nil {
		return info, err
	}
	info.Chain = brief(chainName(raw.Chain))
	if raw.Blocks != nil {
		info.Blocks = *raw.Blocks
	}
	if raw.Headers != nil {
		info.Headers = *raw.Headers
	}
	if raw.BestBlockHash != nil {
		info.BestBlockHash = *raw.BestBlockHash
	}
	if w, ok := new(big.Int).SetString(raw.ChainWork, 16); ok && w.Sign() > 0 {
		info.ChainWork = w
	}
	info.InitialBlockDownload = raw.InitialBlockDownload
	info.SignetChallenge = raw.SignetChallenge
	return info, nil
}

// chainName turns btcd's names of chains into Bitcoin Core's.
func chainName(name string) string {
	switch name {
	case "mainnet":
		return "main"
	case "testnet3", "testnet":
		return "test"
	}
	return name
}

// ChainOf names the chain a genesis block belongs to, "" unknown. Custom
// signets have the genesis block of the public one.
func ChainOf(genesis [32]byte) string {
	switch displayHash(genesis).String() {
	case "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f":
		return "main"
	case "000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943":
		return "test"
	case "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043":
		return "testnet4"
	case "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6":
		return "signet"
	case "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206":
		return "regtest"
	}
	return ""
}

// AddressInfo is a node's opinion of an address.
type AddressInfo struct {
	Valid  bool   // on the chain of the node
	Script []byte // the output script; nil where the node does not say (btcd)
	Error  string // why it is not valid, where the node says
}

// ValidateAddress asks whether an address is valid on the node's chain.
func (c *Client) ValidateAddress(ctx context.Context, address string) (AddressInfo, error) {
	var raw struct {
		Valid  bool            `json:"isvalid"`
		Script string          `json:"scriptPubKey"`
		Error  json.RawMessage `json:"error"`
	}
	if err := c.Call(ctx, &raw, "validateaddress", address); err != nil {
		return AddressInfo{}, err
	}
	info := AddressInfo{Valid: raw.Valid}
	_ = json.Unmarshal(raw.Error, &info.Error)
	if raw.Script != "" {
		script, err := hex.DecodeString(raw.Script)
		if err != nil {
			return AddressInfo{}, c.wrap("validateaddress", &replyError{"scriptPubKey: " + err.Error()})
		}
		info.Script = script
	}
	return info, nil
}
