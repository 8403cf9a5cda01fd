package stratum

import (
	"encoding/json"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestLines(t *testing.T) {
	id := []byte("102")
	for _, tt := range []struct {
		got  []byte
		want string
	}{
		{AppendTrue(nil, id), `{"result":true,"error":null,"id":102}`},
		{AppendTrue(nil, nil), `{"result":true,"error":null,"id":null}`},
		{AppendTrue(nil, []byte(`"a\u0062"`)), `{"result":true,"error":null,"id":"a\u0062"}`},
		{AppendResult(nil, id, `{"version-rolling":true,"version-rolling.mask":"1fffe000"}`),
			`{"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null,"id":102}`},
		{AppendReject(nil, id, &Reject{LowDifficulty, "Above target"}),
			`{"reject-reason":"Above target","result":false,"error":[23,"Above target",null],"id":102}`},
		{AppendReject(nil, nil, &Reject{Other, "bad \"x\"\n"}),
			`{"reject-reason":"bad \"x\"\n","result":false,"error":[20,"bad \"x\"\n",null],"id":null}`},
		{AppendSubscribeResult(nil, []byte("1"), "6b02867f", "7e86026b", 8),
			`{"result":[[["mining.notify","6b02867f"]],"7e86026b",8],"error":null,"id":1}`},
		{AppendSetDifficulty(nil, 42), `{"params":[42],"id":null,"method":"mining.set_difficulty"}`},
		{AppendSetDifficulty(nil, 0.004), `{"params":[0.004],"id":null,"method":"mining.set_difficulty"}`},
		{AppendSetDifficulty(nil, 1e-9), `{"params":[0.000000001],"id":null,"method":"mining.set_difficulty"}`},
		{AppendSetDifficulty(nil, 1e15), `{"params":[1000000000000000],"id":null,"method":"mining.set_difficulty"}`},
		{AppendSetVersionMask(nil, 0x1fffe000), `{"params":["1fffe000"],"id":null,"method":"mining.set_version_mask"}`},
		{AppendSetVersionMask(nil, 0x4), `{"params":["00000004"],"id":null,"method":"mining.set_version_mask"}`},
		{AppendSetExtranonce(nil, "08000002", 4), `{"params":["08000002",4],"id":null,"method":"mining.set_extranonce"}`},
		{AppendShowMessage(nil, "Authorised, welcome to ckpool bob!"),
			`{"id":null,"method":"client.show_message","params":["Authorised, welcome to ckpool bob!"]}`},
		{AppendReconnect(nil, "pool.example.org", "3333"),
			`{"id":null,"method":"client.reconnect","params":["pool.example.org","3333",0]}`},
		{AppendReconnect(nil, "", "3333"), `{"id":null,"method":"client.reconnect","params":[]}`},
		{AppendSubscribe(nil, id, "cgminer/4.12.1", "6b02867e"), `{"id":102,"method":"mining.subscribe","params":["cgminer/4.12.1","6b02867e"]}`},
		{AppendSubscribe(nil, id, "", "6b02867e"), `{"id":102,"method":"mining.subscribe","params":[]}`},
		{AppendAuthorize(nil, id, "bob", "d=5"), `{"id":102,"method":"mining.authorize","params":["bob","d=5"]}`},
		{AppendConfigure(nil, id, math.MaxUint32, 2),
			`{"id":102,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"ffffffff","version-rolling.min-bit-count":2}]}`},
		{AppendSuggestDifficulty(nil, id, 0.00015), `{"id":102,"method":"mining.suggest_difficulty","params":[0.00015]}`},
		{AppendExtranonceSubscribe(nil, nil), `{"id":null,"method":"mining.extranonce.subscribe","params":[]}`},
		{AppendPing(nil, id), `{"id":102,"method":"mining.ping","params":[]}`},
		{AppendSubmit(nil, id, "bob.rig1", "6b02867d00000001", []byte{7: 1}, 0x6b02867d, 0x9bf79, 0, false),
			`{"id":102,"method":"mining.submit","params":["bob.rig1","6b02867d00000001","0000000000000001","6b02867d","0009bf79"]}`},
		{AppendSubmit(nil, id, "bob.rig1", "6b02867d00000001", []byte{7: 1}, 0x6b02867d, 0x8a68b4, 0xc0a000, true), submitLine},
	} {
		if string(tt.got) != tt.want+"\n" {
			t.Errorf("\n got %s\nwant %s", tt.got, tt.want)
		}
		if !json.Valid(tt.got) {
			t.Errorf("not JSON: %s", tt.got)
		}
	}
}

// TestDifficultyOnTheWire: what a miner reads is exactly what it is judged by.
func TestDifficultyOnTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.Float64Range(1e-12, 1e18).Draw(t, "d")
		var m Message
		Scan(AppendSetDifficulty(nil, d), &m)
		if got, err := ParseDifficulty(m.Params); err != nil || got != d {
			t.Fatalf("%v reads as %v, %v", d, got, err)
		}
	})
}
