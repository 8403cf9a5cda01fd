package authority

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

func TestCandidates(t *testing.T) {
	for sent, want := range map[string][]string{
		"secret":            {"secret"},
		"secret,d=42":       {"secret,d=42", "secret"},
		"md=1, secret,D=42": {"md=1, secret,D=42", " secret", "secret"},
		"se,cret,d=42":      {"se,cret,d=42", "se,cret", "se", "cret"},
		"d=42":              {"d=42"},
		"a,b,c,d,e,f":       {"a,b,c,d,e,f", "a", "b", "c"},
		"":                  {""},
	} {
		if got := candidates(sent); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", sent, got, want)
		}
	}
}

// Whatever comes is refused or taken, and what is taken can be sent on.
func FuzzMessage(f *testing.F) {
	for _, text := range []string{
		`{"questions":[{"id":1,"user":"bob","worker":"bob.rig1","password":"x","remote":"::1","payable":true}]}`,
		`{"answers":[{"id":1,"verdict":"allowed","minimum":512,"password":true}]}`,
		`{"changes":[{"number":7,"kind":"minimum","user":"bob","worker":"bob.rig1","minimum":64}],"number":7}`,
		`{"changes":[{"number":8,"kind":"lock","user":"bob","text":"unpaid"}]}`,
		`{"ping":true}`, `{"answers":[{"minimum":-1}]}`, `{"answers":[{"verdict":"x"}]}`, `[]`, `{`,
	} {
		f.Add(append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := readMessage(bytes.NewReader(in))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := write(&out, m); err != nil {
			t.Fatal(err)
		}
		a := newAnswers()
		for i := range m.Changes {
			a.apply(&m.Changes[i])
		}
		for i := range m.Answers {
			q := Question{User: "bob", Worker: "bob.rig1"}
			if a.put(&q, &m.Answers[i]); m.Answers[i].Verdict == Allowed {
				if n, ok := a.find(&q); !ok || n.Verdict != Allowed {
					t.Fatalf("%+v is remembered as %+v, %v", m.Answers[i], n, ok)
				}
			}
		}
	})
}
