package bitcoind

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Saved blocks are files <height>-<hash>.block: the serialised block in hex
// and a line feed, so that an operator can hand one to a node himself
// (bitcoin-cli -stdin submitblock). A rejected one is kept as .rejected.
const (
	savedSuffix     = ".block"
	rejectedSuffix  = ".rejected"
	temporarySuffix = ".tmp"
)

func (g *Group) savedPath(height int64, hash [32]byte) string {
	return filepath.Join(g.options.SaveDir, fmt.Sprintf("%d-%s%s", height, displayHash(hash), savedSuffix))
}

// save writes the block to disk, whole or not at all.
func (g *Group) save(height int64, hash [32]byte, block []byte) error {
	if g.options.SaveDir == "" {
		return nil
	}
	if err := os.MkdirAll(g.options.SaveDir, 0o755); err != nil {
		return err
	}
	path := g.savedPath(height, hash)
	f, err := os.Create(path + temporarySuffix)
	if err != nil {
		return err
	}
	_, err = f.Write(append(hex.AppendEncode(nil, block), '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func (g *Group) unsave(height int64, hash [32]byte, rejected bool) error {
	if g.options.SaveDir == "" {
		return nil
	}
	path := g.savedPath(height, hash)
	var err error
	if rejected {
		err = os.Rename(path, strings.TrimSuffix(path, savedSuffix)+rejectedSuffix)
	} else {
		err = os.Remove(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it could not be saved
	}
	return err
}

// Resume submits the blocks in SaveDir again that were undecided when the
// program ended. A file that is no such block is told as an event and left.
func (g *Group) Resume(changed func(height int64, hash [32]byte, s BlockState)) error {
	if g.options.SaveDir == "" {
		return nil
	}
	entries, err := os.ReadDir(g.options.SaveDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("saved blocks: %w", err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), savedSuffix) {
			continue
		}
		path := filepath.Join(g.options.SaveDir, e.Name())
		height, hash, block, err := readSaved(path)
		if err != nil {
			g.options.Event(Event{levelWarning, fmt.Sprintf("Saved block %s: %v", path, err)})
			continue
		}
		g.options.Event(Event{levelWarning, fmt.Sprintf("Block %d %s was undecided, submitting it again", height, displayHash(hash))})
		g.submit(height, hash, block, func(s BlockState) { changed(height, hash, s) }, true)
	}
	return nil
}

func readSaved(path string) (height int64, hash [32]byte, block []byte, err error) {
	name := strings.TrimSuffix(filepath.Base(path), savedSuffix)
	before, after, ok := strings.Cut(name, "-")
	height, numberErr := strconv.ParseInt(before, 10, 64)
	var named displayHash
	if !ok || numberErr != nil || named.UnmarshalText([]byte(after)) != nil {
		return 0, hash, nil, errors.New("the name is not <height>-<hash>")
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, hash, nil, err
	}
	block, err = hex.DecodeString(strings.TrimSpace(string(content)))
	if err != nil || len(block) < 80 {
		return 0, hash, nil, errors.New("the content is not a block in hex")
	}
	first := sha256.Sum256(block[:80])
	if sha256.Sum256(first[:]) != [32]byte(named) {
		return 0, hash, nil, errors.New("the content is not the block of that hash")
	}
	return height, named, block, nil
}
