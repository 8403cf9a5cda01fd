package poolproto

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func TestRemote(t *testing.T) {
	j, k := RemoteJournal{Instance: strings.Repeat("0f", 16), Name: "asia", Network: "main", Time: 1796009000}, RemoteJournal{}
	if err := k.Parse(j.Append(nil)); err != nil || j != k {
		t.Errorf("%+v, %v", k, err)
	}
	p, q := RemotePlace{Segment: "a", Mark: "b", Size: 5, Refused: "c"}, RemotePlace{}
	if err := q.Parse(p.Append(nil)); err != nil || p != q {
		t.Errorf("%+v, %v", q, err)
	}
	if file, data, err := ParseBytes(AppendBytes(nil, "seg", []byte("\x00\xffx"))); err != nil || file != "seg" || string(data) != "\x00\xffx" {
		t.Errorf("%s %q %v", file, data, err)
	}
	b, c := WholeBlock{Height: 7, Hash: strings.Repeat("ab", 32), Worker: "al ice.1", Name: "asia", Block: bytes.Repeat([]byte{7}, 81)}, WholeBlock{}
	text := b.Append(nil)
	if err := c.Parse(text); err != nil || !reflect.DeepEqual(b, c) || bytes.ContainsAny(text, "\n") {
		t.Errorf("%+v, %v", c, err)
	}
	for _, bad := range []string{``, `{}`, `5`, `{"instance":"zz","name":"a","network":"main"}`, `{"instance":"` + j.Instance + `","name":"../a","network":"main"}`, `{"instance":"` + j.Instance + `","name":"a"}`} {
		if err := k.Parse([]byte(bad)); err == nil {
			t.Errorf("%s is read as %+v", bad, k)
		}
	}
	for _, bad := range []string{``, `{}`, `{"hash":"00"}`, `{"hash":"` + b.Hash + `","block":"00"}`} {
		if err := c.Parse([]byte(bad)); err == nil {
			t.Errorf("%s is read as %+v", bad, c)
		}
	}
	if err := q.Parse([]byte(`{"size":-1}`)); err == nil {
		t.Error("a negative size")
	}
}

// What is read and written again is the same, whatever the bytes.
func FuzzRemote(f *testing.F) {
	j := RemoteJournal{Instance: strings.Repeat("0f", 16), Name: "asia", Network: "main"}
	f.Add(j.Append(nil))
	f.Add((&RemotePlace{Segment: "a", Mark: "b", Size: 5}).Append(nil))
	f.Add((&WholeBlock{Height: 7, Hash: strings.Repeat("ab", 32), Worker: "a", Block: bytes.Repeat([]byte{7}, 81)}).Append(nil))
	f.Add(AppendBytes(nil, "00000001-0000000000000001.journal", []byte("data")))
	f.Fuzz(func(t *testing.T, text []byte) {
		var j, k RemoteJournal
		if j.Parse(text) == nil && (k.Parse(j.Append(nil)) != nil || j != k) {
			t.Errorf("%+v is read again as %+v", j, k)
		}
		var p, q RemotePlace
		if p.Parse(text) == nil && (q.Parse(p.Append(nil)) != nil || p != q) {
			t.Errorf("%+v is read again as %+v", p, q)
		}
		var b, c WholeBlock
		if b.Parse(text) == nil && (c.Parse(b.Append(nil)) != nil || !bytes.Equal(b.Block, c.Block) || b.Hash != c.Hash) {
			t.Errorf("%+v is read again as %+v", b, c)
		}
		if file, data, err := ParseBytes(text); err == nil {
			if again, more, err := ParseBytes(AppendBytes(nil, file, data)); err != nil || again != file || !bytes.Equal(data, more) {
				t.Errorf("%s %x is read again as %s %x, %v", file, data, again, more, err)
			}
		}
	})
}
