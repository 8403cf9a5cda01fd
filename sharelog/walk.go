package sharelog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// BadLinesError tells that lines of share logs could not be read.
type BadLinesError struct {
	Path  string // file of the first
	Line  int    // its number, from 1
	Err   error  // what is wrong with it
	Count int    // how many there are in all
}

// Error names the first of the lines and how many there are.
func (e *BadLinesError) Error() string {
	return fmt.Sprintf("%s:%d: %v (%d bad lines in all)", e.Path, e.Line, e.Err, e.Count)
}

// Unwrap is what is wrong with the first of the lines.
func (e *BadLinesError) Unwrap() error { return e.Err }

// Walk calls fn for every record of the share logs under dir, by height and
// job id. An error of fn ends the walk and is returned. Bad lines are left out
// and reported at the end by a [*BadLinesError]; an unfinished last line is no
// error, because its writer may be at work.
func Walk(dir string, fn func(height int64, r Record) error) error {
	heights, err := heightDirs(dir)
	if err != nil {
		return err
	}
	var bad *BadLinesError
	for _, h := range heights {
		logs, err := logFiles(h.path)
		if err != nil {
			return err
		}
		for _, path := range logs {
			t := tail{path: path, height: h.height}
			err := t.readNew(fn, func(err error) {
				if bad == nil {
					bad = &BadLinesError{Path: path, Line: t.line, Err: err}
				}
				bad.Count++
			})
			if err != nil {
				return err
			}
		}
	}
	if bad != nil {
		return bad
	}
	return nil
}

type heightDir struct {
	path   string
	height int64
}

// heightDirs lists the directories of dir that are named by a height, in order.
func heightDirs(dir string) ([]heightDir, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var dirs []heightDir
	for _, e := range entries {
		if height, ok := parseHex(e.Name(), 8); ok && e.IsDir() {
			dirs = append(dirs, heightDir{filepath.Join(dir, e.Name()), int64(height)})
		}
	}
	return dirs, nil
}

// logFiles lists the share logs in the directory of a height, in order.
func logFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		id, found := strings.CutSuffix(e.Name(), suffix)
		if _, ok := parseHex(id, 16); ok && found {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}

func parseHex(s string, digits int) (uint64, bool) {
	if len(s) != digits || strings.Trim(s, "0123456789abcdef") != "" {
		return 0, false
	}
	v, err := strconv.ParseUint(s, 16, 64)
	return v, err == nil
}

// tail is a place in a share log.
type tail struct {
	path   string
	height int64
	offset int64 // of the first line not read
	line   int   // lines read
}

// readNew calls fn for the records of the finished lines from t.offset on.
func (t *tail) readNew(fn func(int64, Record) error, bad func(error)) error {
	f, err := os.Open(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed meanwhile
	}
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 0, 64<<10)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := f.ReadAt(buf[len(buf):cap(buf)], t.offset+int64(len(buf)))
		buf = buf[:len(buf)+n]
		rest := buf
		for {
			end := bytes.IndexByte(rest, '\n')
			if end < 0 {
				break
			}
			line := rest[:end]
			rest = rest[end+1:]
			t.offset += int64(end + 1)
			t.line++
			if len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			r, err := ParseRecord(line)
			if err != nil {
				bad(err)
			} else if err := fn(t.height, r); err != nil {
				return err
			}
		}
		buf = buf[:copy(buf, rest)]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
