package poolproto_test

import (
	"fmt"
	"net/netip"

	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/stratum"
)

// A passthrough asks for a link, and a pool gives it in the short dialect.
func Example() {
	asked := poolproto.AppendHello(nil, &poolproto.Hello{Role: poolproto.Passthrough, Program: "example/1.0", Dialect: poolproto.Dialect})
	fmt.Printf("%s", asked)

	// The pool.
	var m stratum.Message
	if stratum.Scan(asked, &m) != stratum.Object {
		return
	}
	role := poolproto.RoleOf(m.Method)
	hello := poolproto.ParseHello(role, m.Params)
	fmt.Printf("%s wants a link of a %s\n", hello.Program, role)
	answered := poolproto.AppendAnswer(nil, &poolproto.Answer{Accepted: true, Dialect: min(hello.Dialect, poolproto.Dialect), Role: role})
	fmt.Printf("%s", answered)

	// The passthrough again.
	answer, err := poolproto.ParseAnswer(answered)
	fmt.Println(answer.Accepted, answer.Dialect, err)
	// Output:
	// {"method":"mining.passthrough","params":["example/1.0",{"dialect":1}]}
	// example/1.0 wants a link of a passthrough
	// {"result":true,"dialect":1}
	// true 1 <nil>
}

// A miner comes, and says something.
func ExampleAppendFrame() {
	b := poolproto.AppendFrame(nil, &poolproto.Frame{Kind: poolproto.Open, Channel: 1, Address: netip.MustParseAddr("192.0.2.7")})
	b = poolproto.AppendFrame(b, &poolproto.Frame{Kind: poolproto.Line, Channel: 1, Text: []byte(`{"id":1,"method":"mining.subscribe","params":[]}`)})
	fmt.Printf("%s", b)
	// Output:
	// o 1 0 192.0.2.7
	// l 1 {"id":1,"method":"mining.subscribe","params":[]}
}

// The same line in the dialect of ckpool in C.
func ExampleAppendWrapped() {
	line := []byte(`{"id":1,"method":"mining.subscribe","params":[]}`)
	b, err := poolproto.AppendWrapped(nil, line, &poolproto.Wrapped{Channel: 1, Address: netip.MustParseAddr("192.0.2.7")})
	if err != nil {
		fmt.Println(err)
		return
	}
	w, err := poolproto.ParseWrapped(b)
	fmt.Println(w.Method, w.Channel, w.Address, err)
	// Output: mining.subscribe 1 192.0.2.7 <nil>
}
