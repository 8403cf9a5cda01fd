package operator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/work"
)

// Node is a node that work comes from, for those who want to ask it themselves.
type Node interface {
	// String is where it is, as host:port.
	String() string
	// Call calls method with params, encoded as JSON, and decodes its result.
	Call(ctx context.Context, result any, method string, params ...any) error
	// SubmitBlock hands it a serialised block and returns its verdict as BIP22 has
	// it, "" for null.
	SubmitBlock(ctx context.Context, block []byte) (verdict string, err error)
}

// nodes registers what is about nodes and work.
func (o *Operator) nodes(r Registrar) {
	update := effect("updating", func() { o.Source.Refresh("operator") })
	r.Act("update", update)
	r.Act("block", update) // after "blocks"
	r.Ask("journal", func(context.Context, time.Time) any { return o.journalReply() })
	r.Answer("getbest", o.getBest)
	r.Answer("getlast", o.getBest)
	r.Answer("checkaddr:", o.checkAddress)
	r.Answer("checkaddr", o.checkAddress)
	if o.Proxies != nil {
		const without = "this instance mines for other pools, which list shows, and has no nodes"
		for _, prefix := range []string{"nodes", "getbase", "submitblock:"} {
			r.Answer(prefix, refuse(strings.TrimSuffix(prefix, ":")+": "+without))
		}
		return
	}
	r.Ask("nodes", func(context.Context, time.Time) any { return o.nodesReply() })
	r.Answer("getbase", o.getBase)
	r.Act("submitblock:", o.submitBlockText)
}

func (o *Operator) journalReply() control.Journal {
	j := control.Journal{Readers: []control.JournalReader{}}
	s, kept := o.Journal()
	if !kept {
		return j
	}
	j = control.Journal{
		Kept: true, Epoch: s.Position.Epoch, Number: s.Position.Number,
		UnsafeShares: s.UnsafeShares, UnsafeBytes: s.UnsafeBytes, UnsafeAgeMS: float64(s.UnsafeAge.Microseconds()) / 1000,
		LostRecords: s.LostRecords, LostShares: s.LostShares, Size: s.Size, Readers: j.Readers,
	}
	if s.Err != nil {
		j.Error = s.Err.Error()
	}
	for _, r := range s.Readers {
		j.Readers = append(j.Readers, control.JournalReader{Name: r.Name, Epoch: r.Epoch, Number: r.Number, Behind: r.Behind})
	}
	return j
}

// getBest is the hash work is built on.
func (o *Operator) getBest(context.Context, string) (string, error) {
	if w := o.Jobs.Newest(); w != nil {
		return work.FormatHash(w.Job.Template.PrevHash), nil
	}
	return "failed", nil
}

// getBase is a template as the node gives it, with four members of old.
func (o *Operator) getBase(ctx context.Context, _ string) (string, error) {
	node := o.Node()
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
	base := control.Encode(control.Base{
		Difficulty: difficulty.FromBits(uint32(bits)), Bits: t.Bits,
		Time: fmt.Sprintf("%08x", t.CurTime), Version: fmt.Sprintf("%08x", t.Version),
	})
	return string(raw[:len(raw)-1]) + ", " + base[1:], nil
}

// checkAddress is checkaddr:ADDRESS, answered by a word as always, or
// checkaddr={"address":"ADDRESS"}, which is told why not.
func (o *Operator) checkAddress(_ context.Context, args string) (string, error) {
	if !strings.HasPrefix(args, "{") {
		return strconv.FormatBool(o.Users.Unpayable(args) == ""), nil
	}
	text, err := question{command: "checkaddr", args: args}.name("address")
	if err != nil {
		return "", err
	}
	reason := o.Users.Unpayable(text)
	return control.Encode(control.Payout{Address: text, Valid: reason == "", Reason: reason}), nil
}

// submitBlockText is submitblock:HASH,BLOCK in hex, any character between them.
func (o *Operator) submitBlockText(ctx context.Context, args string) (string, error) {
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
	node := o.Node()
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

func (o *Operator) nodesReply() (reply control.NodeList) {
	for _, n := range o.Source.Status() {
		reply.Nodes = append(reply.Nodes, control.Node{
			URL: n.URL, State: n.State, Reason: n.Reason, Version: n.Version, Current: n.Current, Height: n.Height,
			LatencyMS: float64(n.Latency.Microseconds()) / 1000,
		})
	}
	return reply
}
