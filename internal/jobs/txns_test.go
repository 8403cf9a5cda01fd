package jobs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// Jobs that come in quick succession share their transactions, too: none keeps
// the node's whole answer, and the list is that of the newest.
func TestTidy(t *testing.T) {
	start := time.Unix(1795327613, 0)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "pool"), 0o700); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	g := NewGenerator(nil, New(start), Options{
		Config: func() *config.Config { return &config.Config{LogDir: dir} },
		Events: func(e event.Event) { log.WriteString(e.Text) }, Notice: func(_, text string) { log.WriteString(text) },
	})
	builder := work.Builder{PayoutScript: make([]byte, 22), Extranonce1Len: 4, Extranonce2Len: 8}
	publish := func(n, firstTx int) {
		var txs []string
		for i := range 50 {
			txs = append(txs, fmt.Sprintf(`{"data":"%040000x","txid":"%064x","hash":"%064x"}`, i, firstTx+i, firstTx+i))
		}
		tmpl, err := work.ParseTemplate(fmt.Appendf(nil, `{"version":536870912,"previousblockhash":"%064x","transactions":[%s],
			"coinbasevalue":312500000,"curtime":%d,"bits":"1d00ffff","height":850000}`, 1, strings.Join(txs, ","), start.Unix()+int64(n)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.jobs.publish(&builder, nil, &source.Update{Template: tmpl}, start.Add(time.Duration(n)*time.Second), nil); err != nil {
			t.Fatal(err)
		}
	}
	publish(0, 0)
	g.tidy()
	before := heap()
	for n := range 10 { // of 2 MB each
		publish(1+n, n)
	}
	g.tidy()
	g.tidy() // nothing is left to do
	if grown := heap() - before; grown > 3e6 {
		t.Errorf("ten jobs of the same transactions cost %d bytes", grown)
	}
	list, err := os.ReadFile(filepath.Join(dir, "pool", "pool.txns"))
	if want := fmt.Sprintf("%064x\n", 9); err != nil || !strings.HasPrefix(string(list), want) || len(list) != 50*65 {
		t.Errorf("%v %.80s", err, list)
	}
	if log.Len() > 0 {
		t.Error(log.String())
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
