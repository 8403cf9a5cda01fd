package journal_test

import (
	"fmt"
	"io"
	"log"
	"os"

	"github.com/ckpool/ckpool/journal"
)

// What miners have earned, by worker.
func Example() {
	r, err := journal.Open("testdata/pool", journal.Cursor{})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	earned, refused := map[string]float64{}, map[string]int{}
	for {
		k, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		switch {
		case k.Kind == journal.KindMissing:
			log.Print(k.Missing)
		case k.Kind != journal.KindShare:
		case k.Share.Reason == 0:
			earned[k.Miner.Worker] += k.Share.Credit
		default:
			refused[k.Reason]++
		}
	}
	for worker, sum := range earned {
		fmt.Printf("%s %.2g\n", worker, sum)
	}
	fmt.Println(refused)
	// Output:
	// bob.rig1 3e-08
	// map[above target:1 duplicate:1 stale:1]
}

// A program that is started again goes on where it was.
func ExampleReader_Cursor() {
	r, err := journal.Open("testdata/pool", journal.Cursor{})
	if err != nil {
		log.Fatal(err)
	}
	k, _ := r.Read()
	fmt.Println(k.Position, k.Kind)
	kept := r.Cursor() // store it with what was made of the record
	r.Close()

	if r, err = journal.Open("testdata/pool", kept); err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	k, _ = r.Read()
	fmt.Println(k.Position, k.Kind)
	// Output:
	// 1/1 job
	// 1/2 job
}

// The hash of each share is computed again, and compared with what it has earned.
func ExampleCheck() {
	s, err := journal.Check("testdata/pool", func(f journal.Finding) { fmt.Println(f.Position, f.Text) }, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d shares, %d computed, %d wrong\n", s.Shares, s.Computed, s.Wrong)
	// Output: 6 shares, 6 computed, 0 wrong
}

// The record of a found block, as people read it.
func ExampleRecord_AppendJSON() {
	r, err := journal.Open("testdata/pool", journal.Cursor{})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	for {
		k, err := r.Read()
		if err != nil {
			return
		}
		if k.Kind == journal.KindBlock && k.Block.State == "confirmed" {
			line, _ := k.AppendJSON(nil)
			os.Stdout.Write(line)
		}
	}
	// Output:
	// {"at":"1/12","time":"2026-11-30T06:33:14.712583Z","kind":"block","user":"bob","worker":"bob.rig1","hash":"00000b9b6ded4d56545de4fce80ab59c0e1d171532d6dc1ae021a33b5ebeff2d","block":{"height":1002,"state":"confirmed","confirmations":1,"reward":78125000,"network_difficulty":0.000009999847412109375}}
}
