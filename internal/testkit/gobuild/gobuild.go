// Package gobuild builds programs that tests run beside themselves.
package gobuild

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
)

// Programs builds main packages into a directory, which is there. It does so in one way,
// whatever the test itself is built with, so that all tests share what Go has compiled.
func Programs(dir string, packages ...string) error {
	c := exec.Command("go", append([]string{"build", "-trimpath", "-buildvcs=false", "-o", dir + string(os.PathSeparator)}, packages...)...)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build %v: %w: %s", packages, err, bytes.TrimSpace(out))
	}
	return nil
}
