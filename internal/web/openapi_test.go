package web

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/ckpool/ckpool/control"
)

// description is what a test reads of the API's own.
type description struct {
	Paths map[string]map[string]struct {
		Parameters []struct{ Name, In string }
		Responses  map[string]struct {
			Content map[string]struct {
				Schema struct {
					Ref string `json:"$ref"`
				}
			}
		}
	}
	Components struct {
		Schemas map[string]struct{ Properties map[string]json.RawMessage }
	}
}

// TestOpenAPI: every route is described and every described one is there; every answer is
// as described, and every member that is described comes in an answer.
func TestOpenAPI(t *testing.T) {
	var d description
	if err := json.Unmarshal(openAPI, &d); err != nil {
		t.Fatal(err)
	}
	f := aPool()
	s := aServer(t, f, nil)
	for pattern := range s.apiRoutes() {
		if _, ok := d.Paths[pattern]; !ok {
			t.Errorf("%s is not described", pattern)
		}
	}
	for pattern := range d.Paths {
		_, ok := s.apiRoutes()[pattern]
		if !ok && pattern != "/api/v1/stream" && pattern != "/api/v1/openapi.json" {
			t.Errorf("%s is described and not there", pattern)
		}
	}
	text, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPI))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("openapi.json", text); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	check := func(path, ref string, body []byte) {
		t.Helper()
		schema, err := compiler.Compile("openapi.json" + ref)
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
		if err == nil {
			err = schema.Validate(v)
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", path, err, body)
		}
		note(seen, v)
	}
	for pattern, methods := range d.Paths {
		for _, user := range []string{"alice", hostile, "nobody"} {
			path := strings.NewReplacer("{user}", escaped(user), "{worker}", escaped(user+".w")).Replace(pattern)
			if pattern == "/api/v1/stream" || pattern == "/api/v1/openapi.json" {
				continue
			}
			w := get(s, path)
			answer, ok := methods["get"].Responses[strconv.Itoa(w.Code)]
			if !ok {
				t.Errorf("%s: %d is not described", path, w.Code)
				continue
			}
			check(path, answer.Content["application/json"].Schema.Ref, w.Body.Bytes())
			for _, p := range methods["get"].Parameters {
				if p.In == "query" && p.Name != "search" && get(s, path+"?"+p.Name+"=nonsense").Code == http.StatusOK {
					t.Errorf("%s: %q is not looked at", path, p.Name)
				}
			}
		}
	}
	// A pool that knows nothing yet, and one with figures beyond all bounds.
	f.pool, f.nodes, f.blocks, f.users = control.PoolStats{}, nil, nil, nil
	check("empty", "#/components/schemas/Pool", get(aServer(t, f, nil), "/api/v1/pool").Body.Bytes())
	f.work = nil
	check("without work", "#/components/schemas/Error", get(aServer(t, f, nil), "/api/v1/pool").Body.Bytes())
	f = aPool()
	f.pool.DSPS1, f.pool.NetworkDifficulty = 1e300, 1e-300
	check("huge", "#/components/schemas/Pool", get(aServer(t, f, nil), "/api/v1/pool").Body.Bytes())
	for name, c := range d.Components.Schemas {
		for member := range c.Properties {
			if !seen[member] {
				t.Errorf("%s: no answer has %q", name, member)
			}
		}
	}
}

// note notes all members of a value.
func note(seen map[string]bool, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			seen[name] = true
			note(seen, member)
		}
	case []any:
		for _, e := range v {
			note(seen, e)
		}
	}
}

// TestAPIKeepsItsForm: within version 1 no member is dropped and none changes its type.
// testdata/v1.txt and testdata/accounts.txt may only grow.
func TestAPIKeepsItsForm(t *testing.T) {
	keepsItsForm(t, openAPI, "v1.txt", v1)
	keepsItsForm(t, accountsAPI, "accounts.txt", accountsV1)
}

func keepsItsForm(t *testing.T, api []byte, file, golden string) {
	t.Helper()
	var d description
	if err := json.Unmarshal(api, &d); err != nil {
		t.Fatal(err)
	}
	var have []string
	for name, c := range d.Components.Schemas {
		for member, of := range c.Properties {
			var kind struct {
				Type json.RawMessage
				Ref  string `json:"$ref"`
			}
			if err := json.Unmarshal(of, &kind); err != nil {
				t.Fatal(err)
			}
			var plain bytes.Buffer
			if kind.Type != nil {
				_ = json.Compact(&plain, kind.Type) // it was decoded
			}
			have = append(have, name+"."+member+" "+plain.String()+kind.Ref)
		}
	}
	slices.Sort(have)
	for want := range strings.Lines(golden) {
		if want = strings.TrimSuffix(want, "\n"); !slices.Contains(have, want) {
			t.Errorf("%q is gone", want)
		}
	}
	for _, h := range have {
		if !strings.Contains(golden, h+"\n") {
			t.Errorf("%q is new: add it to testdata/%s, for ever", h, file)
		}
	}
}
