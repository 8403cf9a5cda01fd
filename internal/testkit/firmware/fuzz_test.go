package firmware

import (
	"io"
	"net"
	"testing"
)

// Whatever a pool says, a device of any family survives it.
func FuzzLine(f *testing.F) {
	for _, line := range []string{
		`{"result":[[["mining.notify","0123456789abcdef"]],"7e86026b",8],"error":null,"id":1}`,
		`{"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null,"id":1}`,
		`{"result":true,"error":null,"id":1}`,
		`{"reject-reason":"no","result":false,"error":[24,"no",null],"id":1}`,
		`{"params":[0.5],"id":null,"method":"mining.set_difficulty"}`,
		`{"params":["1fffe000"],"id":null,"method":"mining.set_version_mask"}`,
		`{"params":["01",4],"id":null,"method":"mining.set_extranonce"}`,
		`{"params":["a.b",1],"id":null,"method":"client.reconnect"}`,
		`{"params":["1","00","","",[],"20000000","1d00ffff","6b02867d",true],"id":null,"method":"mining.notify"}`,
		`{"id":5,"method":"mining.ping","params":[]}`,
		`[]`, `{`, `{"a":{"b":[1,{"c":[]}]}}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		arduinoSize(line)
		for _, family := range Families() {
			near, far := net.Pipe()
			go io.Copy(io.Discard, far)
			d := &Device{family: family, traits: family.traits, addr: "127.0.0.1:3333", link: newLink(near, &family.traits),
				subscribed: true, extranonce1: []byte{1, 2, 3, 4}, nonce2Size: 4, stats: Stats{Rejects: map[string]int{}}}
			d.link.pending["1"] = &request{message: submit}
			_ = d.handle(line)
			if d.job != nil {
				if err := d.hash(); err != nil {
					t.Error(err)
				}
			}
			d.Close()
			far.Close()
		}
	})
}
