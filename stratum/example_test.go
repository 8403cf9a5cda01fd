package stratum_test

import (
	"fmt"

	"github.com/ckpool/ckpool/stratum"
)

// A pool reads a share and answers it.
func Example() {
	line := []byte(`{"id":102,"method":"mining.submit","params":["bob.rig1","6b02867d00000001","0000000000000001","6b02867d","8a68b4"]}`)
	var m stratum.Message
	if stratum.Scan(line, &m) != stratum.Object {
		return
	}
	var s stratum.Submit
	reply := []byte(nil)
	if reject := s.Parse(m.Params, 8, nil); reject != nil {
		reply = stratum.AppendReject(reply, m.ID, reject)
	} else {
		reply = stratum.AppendTrue(reply, m.ID)
	}
	fmt.Printf("%s %016x %08x\n%s", s.Worker, s.JobID, s.Nonce, reply)
	// Output:
	// bob.rig1 6b02867d00000001 008a68b4
	// {"result":true,"error":null,"id":102}
}

// A miner reads what a pool announces.
func ExampleNotify() {
	line := []byte(`{"params":["1f","3c4d5e6ff8091a2bb4c5d6e7708192a33c4d5e6f000e1a2b0000000000000000","0100","ffff",[],"20000000","1d00ffff","6b02867d",true],"id":null,"method":"mining.notify"}`)
	var m stratum.Message
	stratum.Scan(line, &m)
	var n stratum.Notify
	if err := n.Parse(m.Params); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("job %s on %x, clean %v\n", n.JobID, n.PrevHash[:4], n.Clean)
	// Output: job 1f on 6f5e4d3c, clean true
}

// A pool writes a line once, and changes it where it differs from miner to miner.
func ExampleNotifyLine() {
	n := stratum.Notify{Coinb1: []byte{1, 0}, Coinb2: []byte{0xff, 0xff}, Version: 0x20000000, Bits: 0x1d00ffff, NTime: 0x6b02867d}
	line := stratum.NewNotifyLine(0x6b02867d00000001, &n, 1)
	fmt.Printf("%s", line.Line(true))
	fmt.Printf("%s", line.Append(nil, &stratum.Recipient{Suffix: 1, Coinb1: []byte{1, 7}, Payee: []byte{0x51}, NTime: 0x6b028680}))
	// Output:
	// {"params":["6b02867d00000001","0000000000000000000000000000000000000000000000000000000000000000","0100","ffff",[],"20000000","1d00ffff","6b02867d",true],"id":null,"method":"mining.notify"}
	// {"params":["6b02867d0000000101","0000000000000000000000000000000000000000000000000000000000000000","0107","ff51ff",[],"20000000","1d00ffff","6b028680",false],"id":null,"method":"mining.notify"}
}

func ExampleParams() {
	p, ok := stratum.ParseParams([]byte(`["bob", 7, null]`))
	for ok {
		var v []byte
		if v, ok = p.Next(); ok {
			s, isString := stratum.String(v, nil)
			fmt.Printf("%s %q %v\n", v, s, isString)
		}
	}
	// Output:
	// "bob" "bob" true
	// 7 "" false
	// null "" false
}

func ExampleAppendReject() {
	fmt.Printf("%s", stratum.AppendReject(nil, []byte(`"abc"`), &stratum.Reject{Code: stratum.Duplicate, Text: "Duplicate"}))
	// Output: {"reject-reason":"Duplicate","result":false,"error":[22,"Duplicate",null],"id":"abc"}
}
