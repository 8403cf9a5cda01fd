package journal

import (
	"os"
	"path/filepath"
	"testing"
)

// How far readers have come is known in every directory, whatever that is called: what is deleted
// depends on it.
func TestCursorsInOddDirectories(t *testing.T) {
	for _, name := range []string{"journal", "pool[1]", "pool[1", "*", "?", `a\b`} {
		dir := filepath.Join(t.TempDir(), name)
		if list, err := Cursors(dir); err != nil || list == nil || len(list) > 0 {
			t.Errorf("%s, which is not there: %v, %v", name, list, err)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		want := Cursor{Position: Position{Epoch: 1, Number: 7}}
		if err := WriteCursor(dir, "ckdb", want); err != nil {
			t.Fatal(err)
		}
		if list, err := Cursors(dir); err != nil || len(list) != 1 || list["ckdb"] != want {
			t.Errorf("%s: %v, %v", name, list, err)
		}
	}
}
