package pool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"ckpool/address"
	"ckpool/bitcoind"
	"ckpool/difficulty"
	"ckpool/sharelog"
	"ckpool/work"
)

// nodeCommands registers what is about nodes and work.
func (c commands) nodeCommands(r registrar) {
	update := effect("updating", func() { c.nodes.Refresh("operator") })
	r.act("update", update)
	r.act("block", update) // after "blocks"
	r.answer("nodes", func(context.Context, string) (string, error) { return c.nodesReply(), nil })
	r.answer("getbase", c.getBase)
	r.answer("getbest", c.getBest)
	r.answer("getlast", c.getBest)
	r.answer("checkaddr:", c.checkAddress)
	r.answer("checkaddr", c.checkAddress)
	r.act("submitblock:", c.submitBlockText)
}

// getBest is the hash work is built on.
func (c commands) getBest(context.Context, string) (string, error) {
	if w := c.Work(); w != nil {
		return work.FormatHash(w.Job.Template.PrevHash), nil
	}
	return "failed", nil
}

// getBase is a template as the node gives it, with four members of old.
func (c commands) getBase(ctx context.Context, _ string) (string, error) {
	node := c.nodes.Current()
	if node == nil {
		return "Failed", nil
	}
	var raw json.RawMessage
	params := map[string][]string{"rules": {"segwit", "signet"}}
	if err := node.Call(ctx, &raw, "getblocktemplate", params); err != nil {
		return "Failed", nil //nolint:nilerr // the word clients know
	}
	var t struct {
		Bits    string `json:"bits"`
		CurTime uint32 `json:"curtime"`
		Version uint32 `json:"version"`
	}
	if err := json.Unmarshal(raw, &t); err != nil {
		return "", fmt.Errorf("template of %s: %w", node, err)
	}
	bits, err := strconv.ParseUint(t.Bits, 16, 32)
	if err != nil {
		return "", fmt.Errorf("template of %s: %w", node, err)
	}
	o := sharelog.NewObject(nil)
	o.Real("diff", difficulty.FromBits(uint32(bits)), 17)
	o.String("ntime", fmt.Sprintf("%08x", t.CurTime))
	o.String("bbversion", fmt.Sprintf("%08x", t.Version))
	o.String("nbit", t.Bits)
	return string(raw[:len(raw)-1]) + ", " + string(o.Close()[1:]), nil
}

// checkAddress is checkaddr:ADDRESS, answered by a word as always, or
// checkaddr={"address":"ADDRESS"}, which is told why not.
func (c commands) checkAddress(_ context.Context, args string) (string, error) {
	if !strings.HasPrefix(args, "{") {
		return strconv.FormatBool(c.unpayable(args) == ""), nil
	}
	text, missing := name("checkaddr", args, "address")
	if missing != nil {
		return string(missing), nil
	}
	reason := c.unpayable(text)
	o := sharelog.NewObject(nil)
	o.String("address", text)
	o.Bool("valid", reason == "")
	o.String("reason", reason)
	return string(o.Close()), nil
}

// unpayable is why blocks cannot be paid to an address, "" if they can.
func (c commands) unpayable(text string) string {
	a, err := address.Parse(text)
	refused := c.checkPayout(a, err)
	if err == nil {
		err = a.Payable()
	}
	if refused != "" && err != nil {
		return err.Error() // what a login is told speaks of user names
	}
	return refused
}

// submitBlockText is submitblock:HASH,BLOCK in hex, any character between them.
func (c commands) submitBlockText(ctx context.Context, args string) (string, error) {
	const digits, header = 64, 80
	if len(args) < digits+1 {
		return "", errors.New("want submitblock:HASH,BLOCK in hex")
	}
	hash, hashErr := work.ParseHash(args[:digits])
	block, err := hex.DecodeString(args[digits+1:])
	if err := errors.Join(hashErr, err); err != nil || len(block) <= header {
		return "", errors.New("want submitblock:HASH,BLOCK in hex")
	}
	first := sha256.Sum256(block[:header])
	if sha256.Sum256(first[:]) != hash {
		return "", errors.New("the block does not have that hash")
	}
	node := c.nodes.Current()
	if node == nil {
		return "", errors.New("no node is usable")
	}
	verdict, err := node.SubmitBlock(ctx, block)
	switch {
	case err != nil:
		return "", err
	case verdict != "":
		return "", errors.New(verdict)
	}
	return "accepted", nil
}

func (c commands) nodesReply() string {
	o := sharelog.NewObject(nil)
	o.Raw("nodes", array(c.nodes.Status(), func(b []byte, n bitcoind.NodeStatus) []byte {
		e := sharelog.NewObject(b)
		e.String("url", n.URL)
		e.String("state", n.State)
		e.String("reason", n.Reason)
		e.String("version", n.Version)
		e.Bool("current", n.Current)
		e.Int("height", n.Height)
		e.Real("latency_ms", float64(n.Latency.Microseconds())/1000, 6)
		return e.Close()
	}))
	return string(o.Close())
}
