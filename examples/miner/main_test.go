package main

import (
	"testing"

	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/stratum/client"
)

// Each piece of hashing goes on where the one before has ended, with another extranonce2 when
// all nonces were tried.
func TestSearch(t *testing.T) {
	job := &client.Notify{Extranonce: stratum.Extranonce{Extranonce2Len: 8}, Difficulty: 1e15}
	for _, from := range []uint64{0, 1<<32 - 1} {
		for nonce, n := from, 0; n < 3; n++ {
			next := search(job, nonce)
			if next <= nonce || nonce>>32 != (next-1)>>32 {
				t.Fatalf("from %#x on it has come to %#x", nonce, next)
			}
			nonce = next
		}
	}
}
