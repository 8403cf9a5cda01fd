package main

import (
	"runtime"
	"runtime/metrics"
)

// collectBelow is how much may be allocated until the garbage collector begins
// by itself, in bytes, below which it is made to begin now: a large template
// with its list of transactions, twice.
const collectBelow = 16 << 20

// collect runs the garbage collector if the next template would start it. Its
// work then falls into a quiet time and not into the one in which miners wait
// for a new block.
func collect() {
	s := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	if s[1].Value.Uint64()+collectBelow > s[0].Value.Uint64() {
		runtime.GC()
	}
}
