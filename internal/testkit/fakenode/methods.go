package fakenode

import (
	"context"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/chainhash/v2"
)

// warning is what a development version of Core says in several answers.
const warning = "This is a pre-release test build - use at your own risk - do not use for mining or merchant applications"

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	name  string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			b = append(b, ',')
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		b = append(fmt.Appendf(b, "%q:", m.name), value...)
	}
	return append(b, '}'), nil
}

// call runs one method. The result comes in parts, lest a template of
// megabytes is copied.
func (n *Node) call(ctx context.Context, req *request, f Fault) ([][]byte, *rpcError) {
	if req.Method == "getblocktemplate" {
		return n.getblocktemplate(ctx, req)
	}
	result, rerr := n.plain(req, f)
	if rerr != nil {
		return nil, rerr
	}
	b, err := json.Marshal(result)
	if err != nil {
		return nil, &rpcError{-1, err.Error()}
	}
	return [][]byte{b}, nil
}

func (n *Node) plain(req *request, f Fault) (any, *rpcError) {
	switch req.Method {
	case "submitblock":
		return n.submitblock(req, f)
	case "getblockhash":
		return n.getblockhash(req)
	case "getbestblockhash":
		_, hash := n.Tip()
		return hash, nil
	case "getblockcount":
		height, _ := n.Tip()
		return height, nil
	case "getblockheader":
		return n.getblockheader(req)
	case "getblockchaininfo":
		return n.getblockchaininfo(), nil
	case "getnetworkinfo":
		return getnetworkinfo(!n.present(NotConnected))
	case "getmininginfo":
		return n.getmininginfo(), nil
	case "validateaddress":
		var address string
		if rerr := req.param(0, &address); rerr != nil {
			return nil, rerr
		}
		return validateaddress(address, networks[n.config.Chain]), nil
	case "preciousblock":
		var hash string
		if rerr := req.param(0, &hash); rerr != nil {
			return nil, rerr
		}
		h, err := chainhash.NewHashFromStr(hash)
		if err != nil || !n.chain.precious(*h) {
			return nil, &rpcError{-5, "Block not found"}
		}
		return nil, nil
	case "generate", "generatetoaddress":
		return n.generate(req)
	default:
		return nil, &rpcError{-32601, "Method not found"}
	}
}

// param decodes a positional parameter.
func (r *request) param(i int, v any) *rpcError {
	if i >= len(r.Params) {
		return &rpcError{-1, r.Method + ": parameters missing"}
	}
	if err := json.Unmarshal(r.Params[i], v); err != nil {
		return &rpcError{-3, "JSON value of parameter " + fmt.Sprint(i) + " is not of expected type"}
	}
	return nil
}

func (n *Node) getblocktemplate(ctx context.Context, req *request) ([][]byte, *rpcError) {
	var p struct {
		Rules      []string `json:"rules"`
		LongPollID string   `json:"longpollid"`
	}
	if len(req.Params) > 0 {
		if rerr := req.param(0, &p); rerr != nil {
			return nil, rerr
		}
	}
	signet := n.config.Chain == "signet"
	if signet && !slices.Contains(p.Rules, "signet") {
		return nil, &rpcError{-8, `getblocktemplate must be called with the signet rule set (call with {"rules": ["segwit", "signet"]})`}
	}
	if !slices.Contains(p.Rules, "segwit") {
		return nil, &rpcError{-8, `getblocktemplate must be called with the segwit rule set (call with {"rules": ["segwit"]})`}
	}
	if len(p.LongPollID) > 64 {
		if hash, err := chainhash.NewHashFromStr(p.LongPollID[:64]); err == nil {
			var updates int
			_, _ = fmt.Sscan(p.LongPollID[64:], &updates)
			n.chain.wait(ctx, *hash, updates)
		}
	}

	tip, t, updates := n.chain.now()
	mintime := tip.medianTime().Unix() + 1
	rules, available := []string{"csv", "!segwit", "taproot"}, object{}
	switch {
	case signet:
		rules = append(rules, "!signet")
	case n.config.Version&(1<<28) != 0:
		available = append(available, member{"testdummy", 28})
	case n.config.Chain == "regtest":
		rules = append(rules, "testdummy")
	}
	head := object{
		{"capabilities", []string{"proposal"}},
		{"version", n.config.Version},
		{"rules", rules},
		{"vbavailable", available},
		{"vbrequired", n.config.VBRequired},
		{"previousblockhash", tip.hash.String()},
	}
	tail := object{
		{"coinbaseaux", object{}},
		{"coinbasevalue", n.chain.subsidy(tip.height+1) + t.fees},
	}
	if !n.config.NoLongPoll {
		tail = append(tail, member{"longpollid", tip.hash.String() + fmt.Sprint(updates)})
	}
	tail = append(tail, object{
		{"target", targetHex(n.config.Bits)},
		{"mintime", mintime},
		{"mutable", []string{"time", "transactions", "prevblock"}},
		{"noncerange", "00000000ffffffff"},
		{"sigoplimit", 80000},
		{"sizelimit", 4000000},
		{"weightlimit", 4000000},
		{"curtime", max(time.Now().Unix(), mintime)},
		{"bits", fmt.Sprintf("%08x", n.config.Bits)},
		{"height", tip.height + 1},
	}...)
	if signet {
		tail = append(tail, member{"signet_challenge", "51"})
	}
	tail = append(tail, member{"default_witness_commitment", "6a24aa21a9ed" + hex.EncodeToString(t.commitment[:])})
	before, err := head.MarshalJSON()
	if err != nil {
		return nil, &rpcError{-1, err.Error()}
	}
	after, err := tail.MarshalJSON()
	if err != nil {
		return nil, &rpcError{-1, err.Error()}
	}
	before = append(before[:len(before)-1], `,"transactions":[`...)
	after = append([]byte(`],`), after[1:]...)
	return [][]byte{before, t.json, after}, nil
}

func (n *Node) submitblock(req *request, f Fault) (any, *rpcError) {
	var text string
	if rerr := req.param(0, &text); rerr != nil {
		return nil, rerr
	}
	raw, err := hex.DecodeString(text)
	if err != nil {
		raw = []byte(text)
	}
	verdict, err := n.submit(raw, f.Text)
	if err != nil {
		return nil, &rpcError{-22, err.Error()}
	}
	if verdict == "" {
		return nil, nil
	}
	return verdict, nil
}

func (n *Node) getblockhash(req *request) (any, *rpcError) {
	var height int64
	if rerr := req.param(0, &height); rerr != nil {
		return nil, rerr
	}
	n.chain.mu.Lock()
	defer n.chain.mu.Unlock()
	if b := n.chain.at(height); b != nil {
		return b.hash.String(), nil
	}
	if height < 0 || height > n.chain.tip().height {
		return nil, &rpcError{-8, "Block height out of range"}
	}
	return chainhash.HashH(fmt.Append(nil, "height ", height)).String(), nil
}

func (n *Node) getblockheader(req *request) (any, *rpcError) {
	var hash string
	if rerr := req.param(0, &hash); rerr != nil {
		return nil, rerr
	}
	h, err := chainhash.NewHashFromStr(hash)
	if err != nil {
		return nil, &rpcError{-8, "blockhash must be hexadecimal string (not '" + hash + "')"}
	}
	n.chain.mu.Lock()
	defer n.chain.mu.Unlock()
	b := n.chain.blocks[*h]
	if b == nil {
		return nil, &rpcError{-5, "Block not found"}
	}
	confirmations := int64(-1)
	var next *block
	if n.chain.at(b.height) == b {
		confirmations = n.chain.tip().height - b.height + 1
		next = n.chain.at(b.height + 1)
	}
	o := object{
		{"hash", b.hash.String()},
		{"confirmations", confirmations},
		{"height", b.height},
		{"version", b.header.Version},
		{"versionHex", fmt.Sprintf("%08x", uint32(b.header.Version))},
		{"merkleroot", b.header.MerkleRoot.String()},
		{"time", b.header.Timestamp.Unix()},
		{"mediantime", b.medianTime().Unix()},
		{"nonce", b.header.Nonce},
		{"bits", fmt.Sprintf("%08x", b.header.Bits)},
		{"target", targetHex(b.header.Bits)},
		{"difficulty", difficulty(b.header.Bits)},
		{"chainwork", fmt.Sprintf("%064x", b.work)},
		{"nTx", 1},
		{"previousblockhash", b.header.PrevBlock.String()},
	}
	if next != nil {
		o = append(o, member{"nextblockhash", next.hash.String()})
	}
	return o, nil
}

func (n *Node) getblockchaininfo() any {
	tip, _, _ := n.chain.now()
	return object{
		{"chain", n.says()},
		{"blocks", tip.height},
		{"headers", tip.height},
		{"bestblockhash", tip.hash.String()},
		{"bits", fmt.Sprintf("%08x", tip.header.Bits)},
		{"target", targetHex(tip.header.Bits)},
		{"difficulty", difficulty(tip.header.Bits)},
		{"time", tip.header.Timestamp.Unix()},
		{"mediantime", tip.medianTime().Unix()},
		{"verificationprogress", 1},
		{"initialblockdownload", n.present(Downloading)},
		{"chainwork", fmt.Sprintf("%064x", tip.work)},
		{"size_on_disk", 1899152},
		{"pruned", false},
		{"warnings", []string{warning}},
	}
}

func (n *Node) getmininginfo() any {
	height, _ := n.Tip()
	bits := fmt.Sprintf("%08x", n.config.Bits)
	return object{
		{"blocks", height},
		{"bits", bits},
		{"difficulty", difficulty(n.config.Bits)},
		{"target", targetHex(n.config.Bits)},
		{"networkhashps", difficulty(n.config.Bits) * (1 << 32) / 600},
		{"pooledtx", n.config.Transactions},
		{"blockmintxfee", 0.00000001},
		{"chain", n.says()},
		{"next", object{
			{"height", height + 1},
			{"bits", bits},
			{"difficulty", difficulty(n.config.Bits)},
			{"target", targetHex(n.config.Bits)},
		}},
		{"warnings", []string{warning}},
	}
}

// says is the chain it claims to be on.
func (n *Node) says() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.claimed
}

// generate makes foreign blocks, whoever they are said to pay.
func (n *Node) generate(req *request) (any, *rpcError) {
	var count int
	if rerr := req.param(0, &count); rerr != nil {
		return nil, rerr
	}
	hashes := []string{}
	for range count {
		hashes = append(hashes, n.NewBlock())
	}
	return hashes, nil
}

//go:embed testdata/core/regtest-getnetworkinfo.http
var recordedNetworkInfo string

// getnetworkinfo is the recorded answer with the number of peers put in.
func getnetworkinfo(connected bool) (any, *rpcError) {
	_, body, _ := strings.Cut(recordedNetworkInfo, "\r\n\r\n")
	var recorded struct {
		Result json.RawMessage `json:"result"`
	}
	if err := json.Unmarshal([]byte(body), &recorded); err != nil {
		return nil, &rpcError{-1, err.Error()}
	}
	if !connected {
		return recorded.Result, nil
	}
	text := strings.Replace(string(recorded.Result), `"connections":0`, `"connections":8`, 1)
	return json.RawMessage(strings.Replace(text, `"connections_out":0`, `"connections_out":8`, 1)), nil
}

func targetHex(bits uint32) string {
	return fmt.Sprintf("%064x", blockchain.CompactToBig(bits))
}

// difficulty is Core's GetDifficulty.
func difficulty(bits uint32) float64 {
	return math.Ldexp(float64(0xffff)/float64(bits&0xffffff), 8*(29-int(bits>>24)))
}
