package nearest

import "testing"

func TestWord(t *testing.T) {
	known := []string{"nodes", "blocks", "status", "stats", "users", "getuser"}
	for word, want := range map[string]string{
		"node": "nodes", "BLOKCS": "blocks", "sttus": "status", "statu": "stats", "getusr": "getuser", "x": "", "reconfigure": "", "": "",
	} {
		if got := Word(word, known); got != want {
			t.Errorf("%q is near %q, want %q", word, got, want)
		}
	}
}
