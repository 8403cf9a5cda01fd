package work

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/btcsuite/btcd/chainhash/v2"
)

// bigTemplate is a template of the transactions from first to first+n, each of
// size bytes and with made-up ids.
func bigTemplate(first, n, size int) []byte {
	return joinTemplate(bigTransactions(first, n, size))
}

func bigTransactions(first, n, size int) (txs [][]byte) {
	data := strings.Repeat("ab", size-4)
	for i := first; i < first+n; i++ {
		txs = append(txs, fmt.Appendf(nil, `{"data":"%08x%s","txid":"%016x%s","hash":"%016x%s","depends":[],"fee":12819,"sigops":1,"weight":390}`,
			i, data, uint64(i)*0x9e3779b97f4a7c15, data[:48], uint64(i)*0xbf58476d1ce4e5b9, data[:48]))
	}
	return txs
}

func joinTemplate(txs [][]byte) []byte {
	return slices.Concat([]byte(`{"capabilities":["proposal"],"version":536870912,"rules":["csv","!segwit","taproot"],"vbavailable":{},"vbrequired":0,`+
		`"previousblockhash":"0000000000000000000e1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f","transactions":[`),
		bytes.Join(txs, []byte{','}),
		[]byte(`],"coinbaseaux":{},"coinbasevalue":312500000,"longpollid":"0000","target":"`+strings.Repeat("00", 32)+`",`+
			`"mintime":1795327000,"mutable":["time","transactions","prevblock"],"noncerange":"00000000ffffffff","sigoplimit":80000,`+
			`"sizelimit":4000000,"weightlimit":4000000,"curtime":1795327613,"bits":"17034219","height":850000,`+
			`"default_witness_commitment":"6a24aa21a9ed`+strings.Repeat("00", 32)+`"}`))
}

func parseBytes(t testing.TB, body []byte) *Template {
	t.Helper()
	tmpl, err := ParseTemplate(body)
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}

func TestShareKeepsContent(t *testing.T) {
	const n = 200
	var prev *Template
	for round, first := range []int{0, 0, 5, 3, 1000, 0} {
		body := bigTemplate(first, n, 50)
		fresh, shared := parseBytes(t, bytes.Clone(body)), parseBytes(t, body)
		shared.ShareTransactions(prev)
		clear(body) // the answer is no longer needed
		if shared.TxCount() != n {
			t.Fatalf("%d transactions", shared.TxCount())
		}
		for i := range n {
			a, _ := fresh.txs.Load().wtxid(i)
			b, _ := shared.txs.Load().wtxid(i)
			if fresh.TxID(i) != shared.TxID(i) || a != b || !bytes.Equal(fresh.AppendTransaction(nil, i), shared.AppendTransaction(nil, i)) {
				t.Fatalf("round %d: transaction %d differs", round, i)
			}
		}
		b := newBuilder(t)
		if !slices.Equal(b.mustJob(t, fresh).Branch, b.mustJob(t, shared).Branch) {
			t.Fatalf("round %d: branches differ", round)
		}
		prev = shared
	}
}

func TestShareHasInCommon(t *testing.T) {
	a, b, c := parseBytes(t, bigTemplate(0, 100, 50)), parseBytes(t, bigTemplate(0, 100, 50)), parseBytes(t, bigTemplate(10, 100, 50))
	a.ShareTransactions(nil)
	b.ShareTransactions(a)
	c.ShareTransactions(b)
	as, bs, cs := a.txs.Load().shared, b.txs.Load().shared, c.txs.Load().shared
	if &as[0] != &bs[0] {
		t.Error("equal templates have two lists")
	}
	for i := range 90 {
		if as[i+10] != cs[i] {
			t.Errorf("transaction %d is kept twice", i+10)
		}
	}
}

// The same transaction with another witness must not be taken for the first.
func TestShareKeepsWitnessesApart(t *testing.T) {
	id, other := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	template := func(data, hash string) *Template {
		return newGBT().with("transactions", []any{gbt{"data": data, "txid": id, "hash": hash}}).parse(t)
	}
	a, b := template("01", other), template("02", id)
	a.ShareTransactions(nil)
	b.ShareTransactions(a)
	if got := hex.EncodeToString(b.AppendTransaction(nil, 0)); got != "02" {
		t.Errorf("transaction is %s", got)
	}
}

func TestCheckWitness(t *testing.T) {
	id := strings.Repeat("ab", 32)
	tx := func(data, hash string) []any { return []any{gbt{"data": data, "txid": id, "hash": hash}} }
	ids := [][32]byte{{}, displayHash(t, id)}
	good := hex.EncodeToString(commitmentScript(witnessCommitment(ids)))
	bad := hex.EncodeToString(commitmentScript([32]byte{1}))
	for _, tt := range []struct {
		name string
		g    gbt
		err  string
	}{
		{"right", newGBT().with("transactions", tx("00", id), "default_witness_commitment", good), ""},
		{"none", newGBT().with("transactions", tx("00", id)), ""},
		{"wrong", newGBT().with("transactions", tx("00", id), "default_witness_commitment", bad),
			"block template at height 850000: the witness commitment of its transactions is " + good + ", the node says " + bad},
		{"data", newGBT().with("transactions", tx("0g", id)), "the data of transaction 0 is not hex"},
		{"odd data", newGBT().with("transactions", tx("000", id)), "the data of transaction 0 is not hex"},
		{"no data", newGBT().with("transactions", tx("", id)), "the data of transaction 0 is not hex"},
		{"hash", newGBT().with("transactions", tx("00", "x"), "default_witness_commitment", good), `transaction 0 has the hash "x"`},
	} {
		tmpl := tt.g.parse(t)
		checkError(t, tt.name, tmpl.CheckWitness(), tt.err)
		tmpl.ShareTransactions(nil)
		checkError(t, tt.name+", shared", tmpl.CheckWitness(), tt.err)
	}
}

// A template made by hand has no transactions.
func TestEmptyTemplate(t *testing.T) {
	tmpl := &Template{Height: 1, Version: 4, Bits: 0x207fffff, CurTime: 100, CoinbaseValue: 50e8,
		DefaultCommitment: commitmentScript(witnessCommitment([][32]byte{{}}))}
	tmpl.ShareTransactions(nil)
	if err := tmpl.CheckWitness(); err != nil || tmpl.TxCount() != 0 {
		t.Errorf("%v, %d transactions", err, tmpl.TxCount())
	}
	j := newBuilder(t).mustJob(t, tmpl)
	if len(j.Branch) != 0 {
		t.Errorf("branch %x", j.Branch)
	}
	if want := chainhash.DoubleHashB(make([]byte, 64)); !bytes.HasSuffix(tmpl.DefaultCommitment, want) {
		t.Errorf("commitment of no transactions is %x", tmpl.DefaultCommitment)
	}
}

func TestShareWhileInUse(t *testing.T) {
	tmpl := recorded(t, "regtest-getblocktemplate-400tx")
	j := newBuilder(t).mustJob(t, tmpl)
	next := recorded(t, "regtest-getblocktemplate-400tx")
	var wg sync.WaitGroup
	wg.Go(func() { tmpl.ShareTransactions(nil) })
	wg.Go(func() { next.ShareTransactions(tmpl) })
	for range 2 {
		wg.Go(func() {
			if err := tmpl.CheckWitness(); err != nil {
				t.Error(err)
			}
			if got := newBuilder(t).mustJob(t, tmpl).Branch; !slices.Equal(got, j.Branch) {
				t.Error("branch differs")
			}
		})
	}
	wg.Wait()
}

// Ten minutes of a new template every second, 600 of them, may cost 150 MB; a
// quarter of it may cost a quarter.
func TestMemoryOfManyJobs(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 150 templates of 10,000 transactions")
	}
	const n, jobs, limit = 10_000, 150, 150 << 20 / 4
	txs := bigTransactions(0, n+10*jobs, 100)
	var kept []*Job
	b := newBuilder(t)
	add := func(first int) {
		j := b.mustJob(t, parseBytes(t, joinTemplate(txs[first:first+n])))
		for _, limit := range limits {
			j.Coinbase(limit)
		}
		var prev *Template
		if len(kept) > 0 {
			prev = kept[len(kept)-1].Template
		}
		j.Template.ShareTransactions(prev)
		kept = append(kept, j)
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	add(0)
	one := heap()
	for i := 1; i < jobs; i++ {
		add(10 * i)
	}
	all := heap()
	t.Logf("one job %d MB, %d jobs %d MB", one>>20, jobs, all>>20)
	if all > one+limit {
		t.Errorf("%d jobs need %d MB more than one", jobs, (all-one)>>20)
	}
	runtime.KeepAlive(kept)
}
