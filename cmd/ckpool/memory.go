package main

import (
	"os"
	"runtime/debug"
)

// collectAt is how much the heap may grow, in percent, until garbage is
// collected. Checking shares makes no garbage, and the memory for a template is
// there before it comes: so little costs nothing, and miners who connect all at
// once leave no heap of twice what they need.
const collectAt = 30

// tuneMemory sets what suits a pool unless GOGC says otherwise.
func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
}
