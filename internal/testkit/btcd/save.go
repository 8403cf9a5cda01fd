package btcd

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

// btcd deletes its regtest chain whenever it starts. Save and restore keep it in
// a file of blocks in hex, one per line, parents first.
func (n *Node) saveFile() string { return filepath.Join(n.dir, "blocks.hex") }

// Save writes the blocks of the best chain that are not saved yet. [Node.Stop]
// does it; called now and then it bounds what is lost by a kill.
func (n *Node) Save(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	hash, err := n.BestBlockHash(ctx)
	if err != nil {
		return fmt.Errorf("save chain: %w", err)
	}
	var missing []string // newest first
	for height := int64(1); height > 0 && !n.saved[hash]; {
		var header struct {
			Height   int64  `json:"height"`
			Previous string `json:"previousblockhash"`
		}
		if err := n.Call(ctx, &header, "getblockheader", hash, true); err != nil {
			return fmt.Errorf("save chain: %w", err)
		}
		if height = header.Height; height > 0 {
			missing = append(missing, hash)
			hash = header.Previous
		}
	}
	if len(missing) == 0 {
		return nil
	}
	f, err := os.OpenFile(n.saveFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("save chain: %w", err)
	}
	defer f.Close()
	for _, hash := range slices.Backward(missing) {
		var raw string
		if err := n.Call(ctx, &raw, "getblock", hash, 0); err != nil {
			return fmt.Errorf("save chain: %w", err)
		}
		if _, err := fmt.Fprintln(f, raw); err != nil {
			return fmt.Errorf("save chain: %w", err)
		}
		n.saved[hash] = true
	}
	return f.Close()
}

// restore submits what Save wrote. A line cut off by a crash ends it.
func (n *Node) restore(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	f, err := os.Open(n.saveFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("restore chain: %w", err)
	}
	defer f.Close()
	var whole int64
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return os.Truncate(n.saveFile(), whole)
		}
		if err != nil {
			return fmt.Errorf("restore chain: %w", err)
		}
		raw, err := hex.DecodeString(line[:len(line)-1])
		if err != nil {
			return fmt.Errorf("restore chain: %s at byte %d: %w", n.saveFile(), whole, err)
		}
		var verdict string
		if err := n.Call(ctx, &verdict, "submitblock", hex.EncodeToString(raw)); err != nil {
			return fmt.Errorf("restore chain: %w", err)
		}
		if verdict != "" {
			return fmt.Errorf("restore chain: %s at byte %d: %s", n.saveFile(), whole, verdict)
		}
		n.saved[blockHash(raw)] = true
		whole += int64(len(line))
	}
}

// blockHash is the hash, as displayed, of a serialised block.
func blockHash(raw []byte) string {
	return chainhash.DoubleHashH(raw[:wire.MaxBlockHeaderPayload]).String()
}
