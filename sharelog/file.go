package sharelog

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/ckpool/ckpool/internal/hexdigit"
)

const maxFileName = 255 // of every file system in use

// FileName is the name of the file that belongs to a user or worker name:
// bytes below 0x21, 0x7f, '/', '%' and a leading '.' are percent-encoded. Names
// that are empty or longer than 255 bytes in this form are errors.
func FileName(name string) (string, error) {
	if name == "" {
		return "", fmt.Errorf("empty name")
	}
	n := len(name)
	for i := range len(name) {
		if escaped(name, i) {
			n += 2
		}
	}
	if n > maxFileName {
		return "", fmt.Errorf("name of %d bytes is too long for a file name", len(name))
	}
	if n == len(name) {
		return name, nil
	}
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, n)
	for i := range len(name) {
		if c := name[i]; escaped(name, i) {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b), nil
}

func escaped(name string, i int) bool {
	c := name[i]
	return c < 0x21 || c == 0x7f || c == '/' || c == '%' || c == '.' && i == 0
}

// NameOfFile is the inverse of [FileName]. What is no escape of its making, as
// a '%' in a file older versions wrote, is taken as it stands.
func NameOfFile(file string) string {
	if !strings.Contains(file, "%") {
		return file
	}
	b := make([]byte, 0, len(file))
	for i := 0; i < len(file); i++ {
		if file[i] == '%' && i+2 < len(file) {
			if hi, lo := hexdigit.Value(file[i+1]), hexdigit.Value(file[i+2]); hi|lo < 16 {
				if c := hi<<4 | lo; escaped(string([]byte{c}), 0) && (c != '.' || i == 0) {
					b = append(b, c)
					i += 2
					continue
				}
			}
		}
		b = append(b, file[i])
	}
	return string(b)
}

// temporary is how names of unfinished files begin. No user's file does,
// because a leading point is escaped.
const temporary = ".tmp-"

// ReplaceFile writes data under a temporary name in the directory of path and
// renames it to path, so that readers see the old or the new content, never a
// part. With sync the data is on the disk before the rename.
func ReplaceFile(path string, data []byte, sync bool) error {
	return replaceFile(path, sync, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

func replaceFile(path string, sync bool, write func(w io.Writer) error) error {
	f, err := createTemporary(filepath.Dir(path))
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil && sync {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// createTemporary is os.CreateTemp with the modes of an ordinary file: others
// may read statistics where the umask lets them.
func createTemporary(dir string) (*os.File, error) {
	for try := 0; ; try++ {
		name := filepath.Join(dir, fmt.Sprintf("%s%d-%d", temporary, os.Getpid(), try))
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if !os.IsExist(err) || try == 10000 {
			return f, err
		}
	}
}

// IsTemporary reports whether a file name is that of an unfinished file of
// [ReplaceFile], left behind by a process that was killed.
func IsTemporary(name string) bool { return strings.HasPrefix(name, temporary) }

// PutAside gives a file of an earlier run that cannot be read another name, so
// that it is not written over. It returns what to tell an operator: why, whose text
// names the file, and what has become of it.
func PutAside(path string, why error) string {
	to := path + ".damaged"
	for n := 2; n < 100; n++ {
		if _, err := os.Lstat(to); err != nil {
			break
		}
		to = fmt.Sprintf("%s.damaged%d", path, n)
	}
	if err := os.Rename(path, to); err != nil {
		return fmt.Sprintf("%v; it cannot be put aside: %v", why, err)
	}
	return fmt.Sprintf("%v; it is now %s", why, to)
}
