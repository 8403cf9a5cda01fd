package difficulty_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/ckpool/ckpool/difficulty"
)

func ExampleOfHash() {
	// The header of block 1.
	header, _ := hex.DecodeString("010000006fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000" +
		"982051fd1e4ba744bbbe680e1fee14677ba1a3c3540bf7b1cdb606e857233e0e61bc6649ffff001d01e36299")
	first := sha256.Sum256(header)
	hash := sha256.Sum256(first[:])
	fmt.Printf("%.3f\n", difficulty.OfHash(&hash))
	fmt.Println(difficulty.Meets(&hash, 1), difficulty.Meets(&hash, 2000))

	target, err := difficulty.TargetFromBits(0x1d00ffff)
	fmt.Println(target.MetBy(&hash), err)
	// Output:
	// 1.945
	// true false
	// true <nil>
}

func ExampleFromBits() {
	fmt.Println(difficulty.FromBits(0x1b0404cb))
	// Output: 16307.420938523983
}

func ExampleFormatSI() {
	perSecond := 250.0 // difficulty per second
	fmt.Println(difficulty.FormatSI(perSecond * difficulty.HashesPerDifficulty))
	// Output: 1.07T
}

func ExampleAppendWire() {
	fmt.Printf(`{"params":[%s],"id":null,"method":"mining.set_difficulty"}`, difficulty.AppendWire(nil, 0.00015))
	// Output: {"params":[0.00015],"id":null,"method":"mining.set_difficulty"}
}

// A miner of 1.4 TH/s at difficulty 42 sends 8 shares per second: far too many.
func ExampleVardiff() {
	limits := difficulty.Limits{Min: 1, Network: 1e14}
	current := 42.0
	var v difficulty.Vardiff
	v.Start(0)
	for i := 1; i <= 1000; i++ {
		now := float64(i) / 8
		if d := v.Share(now, current, current, limits); d.Difficulty != 0 {
			fmt.Printf("share %d: difficulty %v, urgent %v\n", i, d.Difficulty, d.Urgent)
			v.Changed(now)
			break
		}
	}
	// Output: share 72: difficulty 1117, urgent true
}
