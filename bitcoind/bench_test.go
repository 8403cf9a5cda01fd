package bitcoind

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// fullTemplate is a reply with n transactions of 400 bytes.
func fullTemplate(n int) []byte {
	var b bytes.Buffer
	head, tail, _ := strings.Cut(templateJSON(blockID(9, 0), 10, "x", false), `"transactions":[]`)
	fmt.Fprintf(&b, `{"result":%s"transactions":[`, head)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		id := fmt.Sprintf("%064x", i+1)
		fmt.Fprintf(&b, `{"data":"%s","txid":"%s","hash":"%s","depends":[],"fee":1000,"sigops":4,"weight":1600}`,
			strings.Repeat("ab", 400), id, id)
	}
	fmt.Fprintf(&b, `]%s,"error":null,"id":1}`, tail)
	return b.Bytes()
}

// From the request to a parsed template, over loopback.
func BenchmarkTemplate(b *testing.B) {
	body := fullTemplate(4000)
	s := httptestServer(b, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body)
	})
	c := NewClient(Config{URL: s.URL}, Options{})
	defer c.Close()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		c.ids.Store(0)
		t, err := c.Template(b.Context(), "")
		if err != nil || t.TxCount() != 4000 {
			b.Fatal(err)
		}
	}
}

// A poll that brings nothing new, ten times a second for each node.
func BenchmarkPoll(b *testing.B) {
	s := httptestServer(b, func(w http.ResponseWriter, r *http.Request) {
		rpc, _ := readRequest(r)
		fmt.Fprintf(w, `{"result":%s,"error":null,"id":%d}`, quoted(blockID(9, 0)), rpc.ID)
	})
	c := NewClient(Config{URL: s.URL}, Options{})
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.BestBlockHash(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewSubmission(b *testing.B) {
	block := make([]byte, 2<<20)
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		newSubmission(block)
	}
}
