package main

import "testing"

func TestSoloMode(t *testing.T) {
	for text, want := range map[string]bool{"": false, "pool": false, "POOL": false, "solo": true, "SOLO": true, "Solo ": true} {
		if got, err := soloMode(text); got != want || err != nil {
			t.Errorf("MODE=%s: %v, %v", text, got, err)
		}
	}
	if _, err := soloMode("sollo"); err == nil || err.Error() != "MODE=sollo: want pool or solo" {
		t.Errorf("%v", err)
	}
}
