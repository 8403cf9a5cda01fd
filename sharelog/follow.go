package sharelog

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"
)

const (
	followEvery = 500 * time.Millisecond
	relistEvery = time.Minute
	// A directory is watched for as long after its last new file.
	watchFor = time.Hour
)

// Follow calls fn for every record that is added to the share logs under dir
// from now on, about half a second after it reached its file, until ctx ends
// or fn returns an error; it returns that error or ctx's. Records of one file
// come in their order. Bad lines are left out. Heights without a new job for
// an hour are not watched.
func Follow(ctx context.Context, dir string, fn func(height int64, r Record) error) error {
	f := follower{dir: dir, watched: make(map[string]*watchedDir)}
	if err := f.scan(time.Now(), true); err != nil {
		return err
	}
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-ticker.C:
			if err := f.scan(now, false); err != nil {
				return err
			}
			if err := f.read(fn); err != nil {
				return err
			}
		}
	}
}

type follower struct {
	dir     string
	changed time.Time // of dir when it was last listed
	listed  time.Time // when it was
	watched map[string]*watchedDir
}

type watchedDir struct {
	height int64
	tails  map[string]*tail // by path
}

// scan looks for new directories and files. What they hold at first is passed
// over.
func (f *follower) scan(now time.Time, first bool) error {
	info, err := os.Stat(f.dir)
	if err != nil {
		return err
	}
	if !info.ModTime().Equal(f.changed) || now.Sub(f.listed) >= relistEvery {
		if err := f.list(now); err != nil {
			return err
		}
		f.changed, f.listed = info.ModTime(), now
	}
	for path, dir := range f.watched {
		if err := dir.scan(path, now, first); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (f *follower) list(now time.Time) error {
	dirs, err := heightDirs(f.dir)
	if err != nil {
		return err
	}
	watched := make(map[string]*watchedDir)
	for _, d := range dirs {
		info, err := os.Stat(d.path)
		if err != nil || now.Sub(info.ModTime()) >= watchFor {
			continue
		}
		if watched[d.path] = f.watched[d.path]; watched[d.path] == nil {
			watched[d.path] = &watchedDir{d.height, make(map[string]*tail)}
		}
	}
	f.watched = watched
	return nil
}

func (d *watchedDir) scan(path string, now time.Time, first bool) error {
	logs, err := logFiles(path)
	if err != nil {
		return err
	}
	for _, path := range logs {
		if d.tails[path] != nil {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		t := &tail{path: path, height: d.height}
		// a directory that is watched again has old files, all read
		if first || now.Sub(info.ModTime()) >= watchFor/2 {
			t.offset = info.Size()
		}
		d.tails[path] = t
	}
	return nil
}

func (f *follower) read(fn func(int64, Record) error) error {
	for _, dir := range f.watched {
		for path, t := range dir.tails {
			info, err := os.Stat(path)
			if errors.Is(err, fs.ErrNotExist) {
				delete(dir.tails, path)
				continue
			}
			if err != nil {
				return err
			}
			if info.Size() <= t.offset {
				continue
			}
			if err := t.readNew(fn, func(error) {}); err != nil {
				return err
			}
		}
	}
	return nil
}
