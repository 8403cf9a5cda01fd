package work

import "crypto/sha256"

func doubleHash(b []byte) [32]byte {
	h := sha256.Sum256(b)
	return sha256.Sum256(h[:])
}

// hashPair is an inner node of a merkle tree.
func hashPair(left, right *[32]byte) [32]byte {
	var b [64]byte
	copy(b[:32], left[:])
	copy(b[32:], right[:])
	return doubleHash(b[:])
}

// MerkleBranch returns the nodes that a coinbase hash is combined with, lowest
// level first, to give the merkle root over the coinbase and txids (template
// order, without the coinbase). It is empty when there are no transactions.
func MerkleBranch(txids [][32]byte) [][32]byte {
	var branch [][32]byte
	// The coinbase's side of each level is unknown; level holds the rest of it.
	level := txids
	next := make([][32]byte, 0, len(txids)/2)
	for len(level) > 0 {
		branch = append(branch, level[0])
		next = next[:0]
		for i := 1; i < len(level); i += 2 {
			// A last node without partner is paired with itself.
			next = append(next, hashPair(&level[i], &level[min(i+1, len(level)-1)]))
		}
		level = next
	}
	return branch
}

// MerkleRoot combines the hash of a coinbase (its txid) with a branch.
func MerkleRoot(coinbase [32]byte, branch [][32]byte) [32]byte {
	var b [64]byte
	root := coinbase
	for i := range branch {
		copy(b[:32], root[:])
		copy(b[32:], branch[i][:])
		root = doubleHash(b[:])
	}
	return root
}

// witnessCommitment is the hash in a coinbase's commitment output (BIP141) for
// a witness reserved value of 32 zero bytes. wtxids[0] stands for the coinbase
// and is zero.
func witnessCommitment(wtxids [][32]byte) [32]byte {
	var root, reserved [32]byte
	if len(wtxids) > 0 {
		root = MerkleRoot(wtxids[0], MerkleBranch(wtxids[1:]))
	}
	return hashPair(&root, &reserved)
}
