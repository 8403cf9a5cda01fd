// Csv writes the shares of a pool as CSV, from its journal or from its share logs:
//
//	csv journal /var/lib/ckpool/logs/journal > shares.csv
//	csv sharelog /var/lib/ckpool/logs > shares.csv
//
// A journal has what each share has earned, and tells what of it cannot be read.
package main

import (
	"encoding/csv"
	"errors"
	"io"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/ckpool/ckpool/journal"
	"github.com/ckpool/ckpool/sharelog"
	"github.com/ckpool/ckpool/work"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: csv journal|sharelog DIR")
	}
	out := csv.NewWriter(os.Stdout)
	_ = out.Write([]string{"time", "worker", "address", "job", "difficulty", "credit", "achieved", "reason", "hash"}) // Error tells
	var err error
	switch os.Args[1] {
	case "journal":
		err = fromJournal(out, os.Args[2])
	case "sharelog":
		err = fromShareLogs(out, os.Args[2])
	default:
		err = errors.New("want journal or sharelog")
	}
	out.Flush()
	if err = errors.Join(err, out.Error()); err != nil {
		log.Fatal(err)
	}
}

func fromJournal(out *csv.Writer, dir string) error {
	r, err := journal.Open(dir, journal.Cursor{})
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		k, err := r.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch k.Kind {
		case journal.KindMissing:
			log.Print(k.Missing)
		case journal.KindShare:
			s, hash := &k.Share, ""
			if s.Hashed() {
				hash = work.FormatHash(s.Hash)
			}
			if err := write(out, time.UnixMicro(k.Time), k.Miner.Worker, k.Miner.Address, s.Job, s.Difficulty, s.Credit, s.Achieved(), k.Reason, hash); err != nil {
				return err
			}
		}
	}
}

func fromShareLogs(out *csv.Writer, dir string) error {
	return sharelog.Walk(dir, func(_ int64, r sharelog.Record) error {
		credit, reason := r.Difficulty, "accepted"
		if !r.Result {
			credit, reason = 0, r.ErrorText+r.RejectReason // one of them
		}
		return write(out, r.Created, r.WorkerName, r.Address, r.WorkID, r.Difficulty, credit, max(r.Achieved, 0), reason, r.Hash)
	})
}

func write(out *csv.Writer, at time.Time, worker, address string, job uint64, difficulty, credit, achieved float64, reason, hash string) error {
	number := func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
	return out.Write([]string{
		at.UTC().Format(time.RFC3339Nano), worker, address, strconv.FormatUint(job, 16),
		number(difficulty), number(credit), number(achieved), reason, hash,
	})
}
