package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// file is the configuration, as short as it can be.
func (s *setup) file() string {
	var b strings.Builder
	b.WriteString("// Written by ckpool init. ckpool.conf(5) and docs/ckpool.conf have every key;\n" +
		"// ckpool --check says what is wrong with this file after a change.\n{\n")
	node := fmt.Sprintf(`{"url": %s, `, value(s.config.URL))
	if s.config.Cookie != "" {
		node += fmt.Sprintf(`"cookie": %s`, value(s.config.Cookie))
	} else {
		node += fmt.Sprintf(`"auth": %s, "pass": %s`, value(s.config.User), value(s.config.Pass))
	}
	if len(s.config.ZMQ) > 0 {
		node += fmt.Sprintf(`, "zmq": %s`, value(s.config.ZMQ))
	}
	about := "The bitcoin node."
	if slices.Contains([]string{"main", "test", "testnet4", "signet", "regtest"}, s.probe.Chain) { // else it is any text
		about = fmt.Sprintf("The bitcoin node, on the chain %s.", s.probe.Chain)
	}
	write := func(comment, key, value string) { fmt.Fprintf(&b, "\t// %s\n\t%q: %s,\n", comment, key, value) }
	write(about+" More may follow, for when it fails.", "btcd", "["+node+"}]")
	if s.solo {
		write("A block pays the miner who finds it: the user is an address.", "solo", "true")
	} else {
		write("Blocks pay this address.", "btcaddress", value(s.address))
	}
	write("Where miners connect.", "serverurl", `[{"url": `+value(s.listen)+"}]")
	if s.http != "" {
		write("A page for browsers: whoever reaches this address may read it.", "http", value(s.http))
	}
	b.WriteString("}\n")
	return b.String()
}

// value is v in JSON, on one line, with <, > and & as they are.
func value(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return "null" // never: it is made of texts
	}
	return strings.TrimSuffix(b.String(), "\n")
}
