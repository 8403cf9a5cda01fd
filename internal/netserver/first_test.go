//go:build linux

package netserver

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What is written first overtakes whole lines that wait, and cuts none: neither one that has
// begun nor a unit of work.
func TestWriteFirst(t *testing.T) {
	st := newStepped(t, Config{})
	s, peer := st.connect(t, 4096)
	long := strings.Repeat(".", 200_000)
	st.Write(s, []byte("1"+long+"\n"))
	st.once() // part of it is in the socket
	st.Write(s, []byte("2\n3\n"))
	st.WriteWork(s, []byte("difficulty\njob\n"), 0)
	st.once()
	if st.Unsent(s) == 0 {
		t.Fatal("nothing waits")
	}
	st.WriteFirst(s, []byte("first\n"))
	st.WriteFirst(s, []byte("before\n"))
	if tags := st.DropWork(s); tags != 0 {
		t.Errorf("tags %d", tags)
	}
	st.WriteWork(s, []byte("difficulty\nnewer\n"), 0)
	st.once()
	st.WriteFirst(s, []byte("last\n"))
	var got strings.Builder
	for range 1000 {
		got.WriteString(readAll(peer))
		st.once()
		if st.Unsent(s) == 0 {
			break
		}
	}
	got.WriteString(readAll(peer))
	lines := strings.Split(strings.TrimSuffix(strings.ReplaceAll(got.String(), long, "…"), "\n"), "\n")
	if want := []string{"1…", "last", "before", "first", "2", "3", "difficulty", "newer"}; !slices.Equal(lines, want) {
		t.Errorf("sent %q, want %q", lines, want)
	}
	st.WriteFirst(s, []byte("alone\n"))
	st.once()
	if got := readAll(peer); got != "alone\n" {
		t.Errorf("sent %q where nothing waits", got)
	}
}

// A unit of work is not parted, where it is the first that waits.
func TestWriteFirstBeforeWork(t *testing.T) {
	b := &backlog{buf: []byte("difficulty\njob\nline\n"), work: []unit{{0, 15, 1}}}
	b.insert([]byte("first\n"))
	if got := fmt.Sprintf("%s %v", b.buf, b.work); got != "first\ndifficulty\njob\nline\n [{6 21 1}]" {
		t.Error(got)
	}
}
