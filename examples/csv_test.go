package examples_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/ckpool/ckpool/internal/testkit/miner"
	"github.com/ckpool/ckpool/stratum/client"
	"github.com/ckpool/ckpool/work"
)

// mined are the first shares that a miner was told what they are.
func mined(t *testing.T, addr, worker string, count int) (list []miner.Share) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := miner.Run(ctx, miner.Config{
		Endpoint: client.Endpoint{URL: addr, User: worker}, HashRate: 2e6, Drain: patience,
		OnShare: func(s miner.Share) {
			if list = append(list, s); len(list) == count {
				cancel()
			}
		},
	})
	if len(list) < count {
		t.Fatalf("%d shares, %v", len(list), err)
	}
	return list
}

// The CSV of a journal and of share logs has the shares that a miner was told of.
func TestCSV(t *testing.T) {
	theNode(t)
	logs := t.TempDir()
	addr, pool := startPool(t, logs)
	shares := mined(t, addr, "alice.rig1", 10)
	pool.end()
	for from, dir := range map[string]string{"journal": filepath.Join(logs, "journal"), "sharelog": logs} {
		c := exec.Command(filepath.Join(built, "csv"), from, dir)
		var wrong bytes.Buffer
		c.Stderr = &wrong
		out, err := c.Output()
		if err != nil || wrong.Len() > 0 {
			t.Fatalf("%s: %v: %s", from, err, &wrong)
		}
		rows, err := csv.NewReader(bytes.NewReader(out)).ReadAll()
		if err != nil || len(rows) != len(shares)+1 {
			t.Fatalf("%s: %d rows of %d shares, %v", from, len(rows), len(shares), err)
		}
		column := map[string]int{}
		for i, name := range rows[0] {
			column[name] = i
		}
		byHash := map[string][]string{}
		for _, row := range rows[1:] {
			byHash[row[column["hash"]]] = row
		}
		for _, s := range shares {
			row := byHash[work.FormatHash(s.Hash)]
			if row == nil {
				t.Errorf("%s: the share %s is not there", from, work.FormatHash(s.Hash))
				continue
			}
			credit, _ := strconv.ParseFloat(row[column["credit"]], 64)
			if row[column["worker"]] != "alice.rig1" || row[column["address"]] != "127.0.0.1" || credit > 0 != (s.Reject == nil) || (row[column["reason"]] == "accepted") != (s.Reject == nil) {
				t.Errorf("%s: %q, and the miner was told %v", from, row, s.Reject)
			}
		}
	}
}
