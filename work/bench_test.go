package work

import (
	"fmt"
	"testing"
)

func TestHotPathAllocatesNothing(t *testing.T) {
	for _, solo := range []bool{false, true} {
		b := newBuilder(t)
		payout := b.PayoutScript
		if solo {
			b.PayoutScript = nil
		} else {
			payout = nil
		}
		j := b.mustJob(t, roomyTemplate(t), extras(600)...) // more than the limit has room for
		s := &Solution{Variant: 1, Extranonce2: make([]byte, 8), Version: j.Version | 0x2000}
		var sh Share
		head := make([]byte, 0, 1024)
		for _, limit := range limits {
			m := &Miner{limit, payout, make([]byte, 4)}
			j.Coinbase(limit)
			if n := testing.AllocsPerRun(100, func() {
				s.Nonce++
				j.Hash(&sh, m, s)
			}); n != 0 {
				t.Errorf("solo %v, limit %d: Hash allocates %v times", solo, limit, n)
			}
			if n := testing.AllocsPerRun(100, func() {
				head = j.AppendPayee(j.AppendHead(head[:0], m, 1), m)
			}); n != 0 {
				t.Errorf("solo %v, limit %d: what a line needs allocates %v times", solo, limit, n)
			}
		}
		if size := len(j.CoinbaseTx(&Miner{limitHuge, payout, make([]byte, 4)}, s)); size < 15_900 || size > 16_000 {
			t.Fatalf("the largest coinbase has only %d bytes", size)
		}
	}
}

func benchmarkJob(b *testing.B, coinbase, branches int) (*Job, *Miner) {
	builder := newBuilder(b)
	tmpl := roomyTemplate(b)
	n := 0
	m := &Miner{Limit: limitHuge, Extranonce1: make([]byte, 4)}
	size := func() int {
		return len(builder.mustJob(b, tmpl, extras(n)...).CoinbaseTx(m, &Solution{Extranonce2: make([]byte, 8)}))
	}
	for size() < coinbase-30 {
		n++
	}
	j := builder.mustJob(b, tmpl, extras(n)...)
	j.Branch = make([][32]byte, branches)
	return j, m
}

func BenchmarkHash(b *testing.B) {
	for _, size := range []int{250, 500, 16_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			j, m := benchmarkJob(b, size, 12)
			s := &Solution{Extranonce2: make([]byte, 8)}
			var sh Share
			b.ReportAllocs()
			for b.Loop() {
				s.Nonce++
				j.Hash(&sh, m, s)
			}
		})
	}
}

// From the node's answer to the coinbase for miners.
func BenchmarkTemplateToCoinbase(b *testing.B) {
	for _, n := range []int{4_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			body := append(append([]byte(`{"result":`), bigTemplate(0, n, 400)...), `,"error":null,"id":1}`...)
			builder := newBuilder(b)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				reply, err := ParseReply(body)
				if err != nil {
					b.Fatal(err)
				}
				builder.mustJob(b, reply.Template).Coinbase(limitUnknown)
			}
		})
	}
}

func BenchmarkParseTemplate(b *testing.B) {
	body := bigTemplate(0, 10_000, 400)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		parseBytes(b, body)
	}
}

func BenchmarkMerkleBranch(b *testing.B) {
	ids := parseBytes(b, bigTemplate(0, 10_000, 50)).txs.Load().txids
	for b.Loop() {
		MerkleBranch(ids)
	}
}

// What runs after the work is out.
func BenchmarkShareTemplate(b *testing.B) {
	body, next := bigTemplate(0, 10_000, 400), bigTemplate(10, 10_000, 400)
	prev := parseBytes(b, body)
	prev.ShareTransactions(nil)
	for b.Loop() {
		parseBytes(b, next).ShareTransactions(prev)
	}
}

func BenchmarkCheckWitness(b *testing.B) {
	tmpl := parseBytes(b, bigTemplate(0, 10_000, 400))
	for b.Loop() {
		_ = tmpl.CheckWitness()
	}
}

func BenchmarkBlock(b *testing.B) {
	tmpl := parseBytes(b, bigTemplate(0, 4_000, 400))
	j := newBuilder(b).mustJob(b, tmpl)
	m, s := &Miner{Limit: limitUnknown, Extranonce1: make([]byte, 4)}, &Solution{Extranonce2: make([]byte, 8)}
	var sh Share
	j.Hash(&sh, m, s)
	for b.Loop() {
		j.Block(&sh, m, s)
	}
}
