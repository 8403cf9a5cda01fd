package session

import (
	"testing"
	"time"
)

// Sessions that may come back do not keep out miners that are here.
func TestExtranonce1OfClosedSessionsIsGivenAgain(t *testing.T) {
	now := time.Unix(1795327613, 0)
	r := NewRegistry(2, 1)
	var second uint64
	for client := range uint64(1 << 16) {
		id, _, ok := r.subscribe(client+1, 0)
		if !ok {
			t.Fatalf("no extranonce1 for client %d", client)
		}
		if client < 2 {
			r.claim(id, "bob", client+1, 0)
			r.release(id, client+1, now.Add(time.Duration(client)*time.Second))
			second = id
		}
	}
	if _, _, ok := r.subscribe(1<<17, 0); !ok {
		t.Error("a closed session keeps a miner out")
	}
	if r.entries.find(second) == nil {
		t.Error("the younger session was given up")
	}
	r.subscribe(1<<17+1, 0)
	if _, _, ok := r.subscribe(1<<17+2, 0); ok {
		t.Error("an extranonce1 in use was given again")
	}
}

func TestMaskPrefix(t *testing.T) {
	r := newRig(t, nil)
	r.want(r.open(), `{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"0X00ffe000"}]}`,
		`{"result":{"version-rolling.mask":"00ffe000","version-rolling":true},"error":null,"id":1}`)
}
