//go:build linux

package descriptors

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The limits are the process's, so that the test is another one.
func TestMain(m *testing.M) {
	if os.Getenv("DESCRIPTORS_TEST") == "" {
		os.Exit(m.Run())
	}
	_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 200, Max: 900})
	limit, err := Raise()
	fmt.Println(limit, err)
	Grow(500)
	fmt.Println(tableSize())
	Grow(1 << 20) // as far as the limit goes
	fmt.Println(tableSize())
}

// tableSize is how many descriptors there is room for in the kernel's table.
func tableSize() string {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err.Error()
	}
	_, rest, _ := strings.Cut(string(status), "FDSize:\t")
	size, _, _ := strings.Cut(rest, "\n")
	return size
}

func TestRaiseAndGrow(t *testing.T) {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "DESCRIPTORS_TEST=1")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(out), "900 <nil>\n1024\n1024\n"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
}
