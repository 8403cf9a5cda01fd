package sharelog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const (
	maxOpen    = 16       // files kept open
	flushAt    = 64 << 10 // bytes buffered per file before they are written
	maxPending = 4 << 20  // bytes kept per file while the disk refuses them
)

// ErrFull is returned by [Writer.Append] for a record that was dropped because
// the disk has refused earlier ones for too long.
var ErrFull = errors.New("share log buffer is full")

// Writer writes share logs. Lines are buffered; whole lines reach the file at
// [Writer.Flush] and when a buffer is full. A Writer is not safe for use by
// several goroutines at once.
type Writer struct {
	dir   string
	files map[fileID]*file
	clock uint64 // counts uses, for closing the file unused for longest
}

type fileID struct {
	height int64
	workID uint64
}

type file struct {
	f       *os.File // nil: closed, or not opened yet
	path    string
	pending []byte // whole lines, but for the first after a short write
	used    uint64
}

// OpenWriter returns a Writer for share logs under the log directory dir.
// Directories and files are made when the first line for them comes.
func OpenWriter(dir string) *Writer {
	return &Writer{dir: dir, files: make(map[fileID]*file)}
}

// Path is where the shares of a job are logged: the block height being mined
// in 8 and the job id in 16 hex digits.
func Path(dir string, height int64, workID uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%08x", height), fmt.Sprintf("%016x%s", workID, suffix))
}

const suffix = ".sharelog"

// Append adds a record to the log of the job with id r.WorkID at a block
// height. An error other than [ErrFull] means that buffered lines could not be
// written; they, and the record, are kept and tried again.
func (w *Writer) Append(height int64, r *Record) error {
	f := w.file(fileID{height, r.WorkID})
	if len(f.pending) >= maxPending {
		if f.flush() != nil {
			return ErrFull
		}
	}
	f.pending = append(r.Append(f.pending), '\n')
	if len(f.pending) >= flushAt {
		return w.write(f)
	}
	return nil
}

func (w *Writer) file(id fileID) *file {
	f := w.files[id]
	if f == nil {
		f = &file{path: Path(w.dir, id.height, id.workID)}
		w.files[id] = f
	}
	w.clock++
	f.used = w.clock
	return f
}

// write flushes f and keeps the number of open files small.
func (w *Writer) write(f *file) error {
	err := f.flush()
	if f.f != nil {
		w.limitOpen(f)
	}
	return err
}

func (w *Writer) limitOpen(keep *file) {
	open := 0
	var oldest *file
	for _, f := range w.files {
		if f.f == nil {
			continue
		}
		open++
		if f != keep && (oldest == nil || f.used < oldest.used) {
			oldest = f
		}
	}
	if open > maxOpen {
		oldest.f.Close()
		oldest.f = nil
	}
}

// Flush writes what is buffered. What the disk refuses is kept for the next
// Flush. Files without use since long are closed.
func (w *Writer) Flush() error {
	var errs []error
	for id, f := range w.files {
		if len(f.pending) > 0 {
			if err := w.write(f); err != nil {
				errs = append(errs, err)
			}
		}
		if f.f == nil && len(f.pending) == 0 {
			delete(w.files, id)
		}
	}
	return errors.Join(errs...)
}

// Reopen closes all files after a flush, so that they are opened anew by name.
func (w *Writer) Reopen() error {
	err := w.Flush()
	for _, f := range w.files {
		err = errors.Join(err, f.close())
	}
	return err
}

// Close flushes and closes all files.
func (w *Writer) Close() error {
	err := w.Reopen()
	clear(w.files)
	return err
}

func (f *file) flush() error {
	if len(f.pending) == 0 {
		return nil
	}
	if err := f.open(); err != nil {
		return err
	}
	n, err := f.f.Write(f.pending)
	f.pending = f.pending[:copy(f.pending, f.pending[n:])]
	if cap(f.pending) > 2*flushAt && len(f.pending) == 0 {
		f.pending = nil
	}
	return err
}

func (f *file) open() error {
	if f.f != nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o750); err != nil {
		return err
	}
	opened, err := os.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	if err := endLine(opened); err != nil {
		opened.Close()
		return err
	}
	f.f = opened
	return nil
}

// endLine ends a line that a crash has torn, so that the next one stands alone.
func endLine(f *os.File) error {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], info.Size()-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		_, err = f.Write([]byte{'\n'})
	}
	return err
}

func (f *file) close() error {
	if f.f == nil {
		return nil
	}
	err := f.f.Close()
	f.f = nil
	return err
}
