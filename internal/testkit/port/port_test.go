package port

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A port is given to one test only, also while nobody listens on it.
func TestReserved(t *testing.T) {
	port, err := Free()
	if err != nil {
		t.Fatal(err)
	}
	if err := reserve(port); err != unix.EADDRINUSE {
		t.Errorf("a port that was given: %v", err)
	}
}
