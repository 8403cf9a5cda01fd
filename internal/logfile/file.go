package logfile

import (
	"errors"
	"io"
	"os"
	"time"
)

// reopenEvery bounds how long a renamed file is still written to.
const reopenEvery = time.Minute

// file is a log file that others may rename. Owned by its sink's goroutine.
type file struct {
	path   string
	f      *os.File
	opened time.Time
}

func openFile(path string) (*file, error) {
	f := &file{path: path}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *file) open() error {
	f.opened = time.Now()
	opened, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if f.f != nil {
		f.f.Close()
	}
	f.f = opened
	return nil
}

// refresh opens the file of that name again if asked to, or if that was long
// ago. If it cannot be opened, the old one stays in use.
func (f *file) refresh(now bool) error {
	if !now && time.Since(f.opened) < reopenEvery {
		return nil
	}
	return f.open()
}

func (f *file) Write(b []byte) (int, error) {
	n, err := f.f.Write(b)
	if pathErr := (*os.PathError)(nil); errors.As(err, &pathErr) {
		err = &os.PathError{Op: "write", Path: f.path, Err: pathErr.Err}
	}
	return n, err
}

func (f *file) close() { f.f.Close() }

// console is a writer that stays open.
type console struct{ io.Writer }

func (console) refresh(bool) error { return nil }
func (console) close()             {}
