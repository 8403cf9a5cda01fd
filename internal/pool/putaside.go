package pool

import (
	"fmt"
	"os"
)

// putAside gives a file of an earlier run that cannot be read another name, so
// that it is not written over. It returns why, which names the file, and that.
func putAside(path string, why error) string {
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
