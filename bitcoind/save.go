package bitcoind

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/source"
)

// Saved blocks are files <height>-<hash>.block: the serialised block in hex
// and a line feed, so that an operator can hand one to a node himself
// (bitcoin-cli -stdin submitblock). A rejected one is kept as .rejected.
const (
	savedSuffix     = ".block"
	rejectedSuffix  = ".rejected"
	temporarySuffix = ".tmp"
)

// SavedBlocks is how many blocks wait in a directory of saved ones for a node.
func SavedBlocks(dir string) (n int) {
	entries, _ := os.ReadDir(dir) // without it there are none
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), savedSuffix) {
			n++
		}
	}
	return n
}

// SavedBlock is one of them.
func SavedBlock(dir string, height int64, hash [32]byte) ([]byte, error) {
	_, _, block, err := readSaved(savedPath(dir, height, hash))
	return block, err
}

func savedPath(dir string, height int64, hash [32]byte) string {
	return filepath.Join(dir, fmt.Sprintf("%d-%s%s", height, displayHash(hash), savedSuffix))
}

// save writes the block to SaveDir, trying again until it is there or need not
// be. At the end of Run, it goes elsewhere if it must. request is the block's, which
// may be let go before save is under way.
func (b *block) save(request submission) {
	defer close(b.saved)
	b.mu.Lock()
	saved := b.onDisk
	b.mu.Unlock()
	if saved || b.g.options.SaveDir == "" {
		return
	}
	path := savedPath(b.g.options.SaveDir, b.height, b.hash)
	content := append(slices.Clip(request.block()), '\n')
	say := func(level event.Level, format string, args ...any) {
		b.g.options.Events.Say(level, fmt.Sprintf("Block %d %s ", b.height, displayHash(b.hash))+fmt.Sprintf(format, args...))
	}
	var told time.Time
	ending := b.g.ending
	for {
		err := writeSaved(path, content)
		b.mu.Lock()
		b.onDisk = err == nil
		if err != nil {
			b.trouble = err.Error()
		}
		b.mu.Unlock()
		if err == nil {
			if !told.IsZero() {
				say(event.Warning, "is saved now: %s", path)
			}
			return
		}
		if b.g.left.Load() {
			return
		}
		if now := time.Now(); told.IsZero() || now.Sub(told) >= time.Minute {
			told = now
			say(event.Error, "is not saved, trying again: %v", err)
		}
		select {
		case <-time.After(retryEvery):
		case <-ending:
			ending = nil // a last time at once, and then while Run waits for others
		case <-b.unkept:
			return
		case <-b.g.life.Done():
			elsewhere := filepath.Join(os.TempDir(), filepath.Base(path))
			if err := writeSaved(elsewhere, content); err != nil {
				say(event.Error, "is LOST unless a node has it: it cannot be saved: %v", err)
			} else {
				say(event.Error, "is saved as %s: move it to %s and start again", elsewhere, b.g.options.SaveDir)
			}
			return
		}
	}
}

// writeSaved writes a file whole or not at all, so that it survives a power cut.
func writeSaved(path string, content []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// Two processes may write the same block.
	f, err := os.Create(fmt.Sprintf("%s.%d%s", path, os.Getpid(), temporarySuffix))
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	if d, err := os.Open(dir); err == nil { // some file systems cannot sync directories
		_ = d.Sync()
		d.Close()
	}
	return nil
}

// letGo removes what is kept of the block; of a rejected one the file stays
// under another name.
func (b *block) letGo(rejected bool) {
	b.mu.Lock()
	kept := b.request != nil
	b.request = nil
	b.mu.Unlock()
	if !kept {
		return
	}
	close(b.unkept)
	<-b.saved
	if b.g.options.SaveDir == "" || b.g.left.Load() {
		return
	}
	path := savedPath(b.g.options.SaveDir, b.height, b.hash)
	var err error
	if rejected {
		err = setRejected(path)
	} else {
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // it could not be saved
		b.g.options.Events.Say(event.Warning, fmt.Sprintf("Block %d %s: %v", b.height, displayHash(b.hash), err))
	}
}

func setRejected(path string) error {
	return os.Rename(path, strings.TrimSuffix(path, savedSuffix)+rejectedSuffix)
}

// Resume goes on with the blocks in SaveDir. known tells what the caller knows
// of a block from an earlier run, the zero BlockState for nothing: what was
// undecided is submitted again, the others when nodes no longer have them; and
// the block's chain, see [Group.Follow]. A file that is no such block is told as
// an event and left.
func (g *Group) Resume(known func(hash [32]byte) (s source.BlockState, chain string), changed func(height int64, hash [32]byte, s source.BlockState)) error {
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
		path := filepath.Join(g.options.SaveDir, e.Name())
		if finished, ok := finishSaved(path); ok {
			path = finished
		} else if !strings.HasSuffix(path, savedSuffix) {
			continue
		}
		height, hash, block, err := readSaved(path)
		if err != nil {
			g.options.Events.Say(event.Warning, fmt.Sprintf("Saved block %s: %v", path, err))
			continue
		}
		state, chain := known(hash)
		if state.State == source.BlockRejected { // and could not be renamed
			_ = setRejected(path)
			continue
		}
		g.resume(source.SolvedBlock{Height: height, Hash: hash, Serialised: block}, chain, state, func(s source.BlockState) { changed(height, hash, s) })
	}
	return nil
}

func (g *Group) resume(s source.SolvedBlock, chain string, known source.BlockState, changed func(source.BlockState)) {
	b := g.newBlock(s.Height, s.Hash, changed)
	b.chain = chain
	b.know(known)
	b.keep(s.Serialised, true)
	if known, ended := g.begin(b); known || ended {
		return
	}
	defer g.tasks.Done()
	request := b.request // nobody has let it go yet
	g.tasks.Go(func() { b.save(request) })
	if known.State != source.BlockConfirmed && known.State != source.BlockOrphaned {
		b.last = source.BlockState{}
		if ours := g.Chain(); ours == "" || b.isOf(ours) {
			g.options.Events.Say(event.Warning, fmt.Sprintf("Block %d %s was undecided, submitting it again", s.Height, displayHash(s.Hash)))
		}
		b.offer()
	}
	g.tasks.Go(b.watch)
}

// finishSaved gives a file its name that a killed process had written but not
// named, and removes one it had not finished.
func finishSaved(path string) (finished string, ok bool) {
	name, isTemporary := strings.CutSuffix(path, temporarySuffix)
	name = strings.TrimSuffix(name, filepath.Ext(name)) // the process
	info, err := os.Stat(path)
	if !isTemporary || !strings.HasSuffix(name, savedSuffix) || err != nil {
		return "", false
	}
	content, err := os.ReadFile(path)
	switch {
	case err != nil:
		return "", false
	case bytes.HasSuffix(content, []byte("\n")):
		return name, os.Rename(path, name) == nil
	case time.Since(info.ModTime()) > time.Minute: // else it may be a live process's
		os.Remove(path)
	}
	return "", false
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
