package reference

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// hourFile is a request log.
type hourFile struct {
	path string
	hour int64 // as in its name, YYYYMMDDHH
	size int64
}

var fileName = regexp.MustCompile(`^(.+?)([0-9]{10})\.log(\.gz|\.bz2|\.lrz)?$`)

// findFiles finds the request logs below a directory in the order of their hours.
// prefix is what stands before the hour, "" for whichever there is.
func findFiles(dir, prefix string) (list []hourFile, found string, err error) {
	byPrefix := map[string][]hourFile{}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		m := fileName.FindStringSubmatch(e.Name())
		if m == nil || e.IsDir() || prefix != "" && m[1] != prefix {
			return nil
		}
		if _, err := hourStart(m[2]); err != nil {
			return nil
		}
		// The database's own logs have the same requests once more, and others.
		if prefix == "" && (strings.HasSuffix(m[1], "-db-") || strings.HasSuffix(m[1], "-io-")) {
			return nil
		}
		if m[3] == ".lrz" {
			return fmt.Errorf("%s: cannot be read: unpack it with lrzip -d first", path)
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		hour, _ := strconv.ParseInt(m[2], 10, 64)
		byPrefix[m[1]] = append(byPrefix[m[1]], hourFile{path, hour, info.Size()})
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	switch len(byPrefix) {
	case 0:
		return nil, "", fmt.Errorf("%s: there are no request logs, such as %s2017061606.log", dir, cmp.Or(prefix, "ckdb"))
	case 1:
	default:
		var all []string
		for p := range byPrefix {
			all = append(all, p)
		}
		slices.Sort(all)
		return nil, "", fmt.Errorf("%s: there are request logs of %s: say of which with --logs", dir, strings.Join(all, ", "))
	}
	for p, files := range byPrefix { // the one there is
		found, list = p, files
	}
	slices.SortFunc(list, func(a, b hourFile) int { return cmp.Compare(a.hour, b.hour) })
	for i := 1; i < len(list); i++ {
		if list[i].hour == list[i-1].hour {
			return nil, "", fmt.Errorf("%s and %s are of the same hour: move away the one that is not to be read", list[i-1].path, list[i].path)
		}
	}
	return list, found, nil
}

// hourStart is the time of YYYYMMDDHH.
func hourStart(s string) (time.Time, error) { return time.Parse("2006010215", s) }

// longestLine is that of the reference.
const longestLine = 10 << 20

// Lines that are not read.
var (
	errLong       = fmt.Errorf("the line is longer than %d MiB", longestLine>>20)
	errUnfinished = errors.New("the line has no end")
)

// lineReader reads the lines of a request log, whatever it is packed with.
type lineReader struct {
	file *os.File
	read int64 // bytes of the file, packed
	from *bufio.Reader
	line []byte
}

func openLines(path string) (*lineReader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r := &lineReader{file: f}
	var unpacked io.Reader = r
	switch filepath.Ext(path) {
	case ".gz":
		unpacked = &lateGzip{from: bufio.NewReaderSize(r, 1<<16)}
	case ".bz2":
		unpacked = bzip2.NewReader(bufio.NewReaderSize(r, 1<<16))
	}
	r.from = bufio.NewReaderSize(unpacked, 1<<16)
	return r, nil
}

// lateGzip reads the head with the first bytes, so that one that is damaged is no
// other error than what follows.
type lateGzip struct {
	from *bufio.Reader
	*gzip.Reader
}

func (g *lateGzip) Read(b []byte) (n int, err error) {
	if g.Reader == nil {
		if g.Reader, err = gzip.NewReader(g.from); err != nil {
			return 0, err
		}
	}
	return g.Reader.Read(b)
}

// Read counts what is read of the file.
func (r *lineReader) Read(b []byte) (int, error) {
	n, err := r.file.Read(b)
	r.read += int64(n)
	return n, err
}

func (r *lineReader) close() { r.file.Close() }

// next is the next line without its line feed, valid until the next call. The error is
// errLong where it is left out for its length, errUnfinished where it is the last and has
// no line feed, io.EOF at the end; any other is of the file.
func (r *lineReader) next() ([]byte, error) {
	r.line = r.line[:0]
	long := false
	for {
		part, err := r.from.ReadSlice('\n')
		if long = long || len(r.line)+len(part) > longestLine+1; !long {
			r.line = append(r.line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == io.EOF && len(r.line) > 0:
			return nil, errUnfinished
		case err != nil:
			return nil, err
		case long:
			return nil, errLong
		}
		return bytes.TrimSuffix(r.line, []byte("\n")), nil
	}
}
