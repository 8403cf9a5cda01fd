package users

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/sharelog"
	"github.com/ckpool/ckpool/work"
)

// logged runs fn beside the writer and returns the share log files it leaves.
func logged(t *testing.T, h *harness, fn func()) map[string]string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() { h.WriteShares(ctx) })
	fn()
	cancel()
	writer.Wait()
	files := make(map[string]string)
	err := filepath.Walk(h.dir, func(path string, info os.FileInfo, err error) error {
		if strings.HasSuffix(path, ".sharelog") {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files[strings.TrimPrefix(path, h.dir)] = string(data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestShareLogLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, func(c *Config) {
			c.LogShares = true
			c.ListenerURLs = []string{"0.0.0.0:3333"}
		})
		w := grant(t, h.Users, "bob.rig1").Worker
		files := logged(t, h, func() {
			good := accepted(w, time.Unix(1795327619, 853012345), 0.001, 0.0018773287351401137)
			good.Client = 2
			good.Extranonce2 = session.MakeExtranonce([]byte{7: 1})
			good.Computed.Hash = [32]byte{0: 0xf4, 1: 0x4e, 30: 0x02}
			h.take(good)

			unknown := rejected(w, time.Unix(1795327619, 53012345), 42, session.UnknownJob)
			unknown.Job, unknown.Hashed, unknown.Computed, unknown.Listener, unknown.UserAgent = nil, false, work.Share{}, 7, ""
			h.take(unknown)
			h.take(rejected(w, start, 42, session.Malformed)) // malformed
			starting := accepted(w, start, 1, 1)
			starting.Job, starting.Current = nil, nil
			h.take(starting)
			h.flush(0)
		})
		const path = "/000cf850/6b02867d00000001.sharelog"
		want := `{"workinfoid": 7710873383440744449, "clientid": 2, "enonce1": "7e86026b", "nonce2": "0000000000000001", "nonce": "0009bf79", "ntime": "6b02867d", "diff": 0.001, "sdiff": 0.0018773287351401137, "hash": "0002000000000000000000000000000000000000000000000000000000004ef4", "result": true, "errn": 0, "createdate": "1795327619,853012345", "createby": "code", "createcode": "parse_submit", "createinet": "0.0.0.0:3333", "workername": "bob.rig1", "username": "bob", "address": "198.51.100.7", "agent": "cgminer/4.12.1"}
{"workinfoid": 7710873383440744449, "clientid": 0, "enonce1": "7e86026b", "nonce2": "0000000000000000", "nonce": "0009bf79", "ntime": "6b02867d", "diff": 42.0, "sdiff": -1.0, "hash": "", "result": false, "error": [21, "Invalid JobID", null], "errn": 1, "createdate": "1795327619,53012345", "createby": "code", "createcode": "parse_submit", "createinet": "", "workername": "bob.rig1", "username": "bob", "address": "198.51.100.7", "agent": ""}
`
		if len(files) != 1 || files[path] != want {
			t.Errorf("got %v", files)
		}
	})
}

// Lines of a loop keep their order, and the end loses none.
func TestShareLogOrder(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.LogShares = true })
	w := grant(t, h.Users, "bob").Worker
	const shares, loops = 5000, 2
	logged(t, h, func() {
		var run sync.WaitGroup
		for loop := range loops {
			run.Go(func() {
				for i := range shares {
					sh := accepted(w, start, 1, float64(i))
					sh.Loop, sh.Client = loop, uint64(loop)
					h.take(sh)
					if i%3 == 0 {
						h.flush(loop)
					}
				}
				h.flush(loop)
			})
		}
		run.Wait()
	})
	var next [loops]float64
	err := sharelog.Walk(h.dir, func(_ int64, r sharelog.Record) error {
		if r.Achieved != next[r.ClientID] {
			t.Fatalf("loop %d: share %v after %v", r.ClientID, r.Achieved, next[r.ClientID]-1)
		}
		next[r.ClientID]++
		return nil
	})
	if err != nil || next != [loops]float64{shares, shares} {
		t.Errorf("%v lines, %v", next, err)
	}
}

// A disk that refuses is reported, bounded in memory, and made up for.
func TestShareLogDiskTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, func(c *Config) { c.LogShares = true })
		w := grant(t, h.Users, "bob").Worker
		h.write(t, "", "000cf850") // a file where the directory should be
		files := logged(t, h, func() {
			h.take(accepted(w, start, 1, 1))
			h.flush(0)
			time.Sleep(time.Second)
			synctest.Wait()
			if events := h.found("3 Failed to write share log: "); len(events) != 1 {
				t.Errorf("events: %v", events)
			}
			if err := os.Remove(filepath.Join(h.dir, "000cf850")); err != nil {
				t.Fatal(err)
			}
			h.take(accepted(w, start, 1, 2))
			h.flush(0)
		})
		if n := strings.Count(files["/000cf850/6b02867d00000001.sharelog"], "\n"); n != 2 {
			t.Errorf("%d lines", n)
		}
	})
}

func TestShareQueueIsBounded(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.LogShares = true })
	w := grant(t, h.Users, "bob").Worker
	sh := accepted(w, start, 1, 1)
	for range maxQueued + 10 { // nobody writes
		h.take(sh)
		h.flush(0)
	}
	if q := h.shareLog.queue(0); len(q.ready) != maxQueued || h.shareLog.lost.Load() != 10 {
		t.Errorf("%d queued, %d lost", len(q.ready), h.shareLog.lost.Load())
	}
	h.WriteShares(canceled())
	if events := h.found("3 "); len(events) != 1 || !strings.Contains(events[0], "10 shares were not logged") {
		t.Errorf("events: %v", events)
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
