package sharelog_test

import (
	"fmt"
	"log"
	"os"
	"time"

	"github.com/ckpool/ckpool/sharelog"
)

// Sums up what every worker was credited with.
func ExampleWalk() {
	dir, err := os.MkdirTemp("", "logs")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	w := sharelog.OpenWriter(dir)
	for n := range 3 {
		r := sharelog.Record{WorkID: 0x6b02867d00000001, WorkerName: "bob.rig1", Difficulty: 42, Result: n < 2, Created: time.Now()}
		if err := w.Append(850000, &r); err != nil {
			log.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}

	credit := make(map[string]float64)
	err = sharelog.Walk(dir, func(height int64, r sharelog.Record) error {
		if r.Result {
			credit[r.WorkerName] += r.Difficulty
		}
		return nil
	})
	fmt.Println(credit, err)
	// Output: map[bob.rig1:84] <nil>
}

// Reads the statistics of an old pool.
func ExampleParsePoolStatus() {
	data, err := os.ReadFile("testdata/pool.v17")
	if err != nil {
		log.Fatal(err)
	}
	st, err := sharelog.ParsePoolStatus(data)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d workers, %.2f PH/s, %.2f shares per second\n", st.Workers, st.Hashrate[0]/1e15, st.SPS[0])
	// Output: 31 workers, 1.35 PH/s, 8.91 shares per second
}

// Any name is safe as a file name.
func ExampleFileName() {
	file, err := sharelog.FileName("../etc/passwd")
	fmt.Println(file, err)
	fmt.Println(sharelog.NameOfFile(file))
	// Output:
	// %2E.%2Fetc%2Fpasswd <nil>
	// ../etc/passwd
}
