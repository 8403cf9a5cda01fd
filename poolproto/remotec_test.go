package poolproto

import (
	"strings"
	"testing"
)

// Lines of ckpool in C as a trusted remote.
const (
	authOfC    = `{"params":["alice.rig1","x"],"id":2,"method":"auth","useragent":"miner/1.2","enonce1":"b0a1aa66","address":"192.0.2.9","clientid":77}`
	shareOfC   = `{"workinfoid":6888000000000000031,"clientid":77,"enonce1":"b0a1aa66","nonce2":"0000000000000004","nonce":"9c01ff02","ntime":"68e77815","diff":512.0,"sdiff":733.1,"hash":"000000000016a1b0c3d4e5f60718293a4b5c6d7e8f9011223344556677889900","result":true,"errn":0,"createdate":"1,2","createby":"code","createcode":"x","createinet":"y","workername":"alice.rig1","username":"alice","address":"192.0.2.9","agent":"miner/1.2","method":"share"}`
	refusedOfC = `{"workinfoid":6888000000000000031,"clientid":77,"enonce1":"b0a1aa66","nonce2":"0000000000000004","nonce":"9c01ff02","ntime":"68e77815","diff":512.0,"sdiff":3.1,"hash":"000000016a1b0c3d4e5f60718293a4b5c6d7e8f901122334455667788990abcd","result":false,"errn":5,"error":"Above target","workername":"alice.rig1","username":"alice","address":"192.0.2.9","agent":"miner/1.2","method":"share"}`
	workersOfC = `{"method":"workers","username":"alice","workers":3}`
	pingOfC    = `{"method":"ping"}`
)

func TestRemoteOfC(t *testing.T) {
	for line, want := range map[string]string{authOfC: RemoteAuth, shareOfC: RemoteShare, workersOfC: RemoteWorkers, pingOfC: RemotePing} {
		if got, err := RemoteMethod([]byte(line)); err != nil || got != want {
			t.Errorf("%s is %q, %v", line, got, err)
		}
	}
	var l RemoteLogin
	if err := l.Parse([]byte(authOfC)); err != nil || l.Worker != "alice.rig1" || l.Password != "x" || l.Agent != "miner/1.2" || l.Address.String() != "192.0.2.9" || l.Client != 77 {
		t.Errorf("%+v, %v", l, err)
	}
	if got := string(l.AppendResult(nil, "")); got != `{"result":true,"error":null,"id":2,"method":"auth.result","client_id":77}`+"\n" {
		t.Errorf("allowed: %s", got)
	}
	if got := string(l.AppendResult(nil, `no "x"`)); got != `{"result":false,"error":"no \"x\"","id":2,"method":"auth.result","client_id":77}`+"\n" {
		t.Errorf("refused: %s", got)
	}
	var s RemoteShareLine
	if err := s.Parse([]byte(shareOfC)); err != nil || !s.Accepted || s.Worker != "alice.rig1" || s.Difficulty != 512 || s.Nonce != 0x9c01ff02 {
		t.Errorf("%+v, %v", s, err)
	}
	if err := s.Parse([]byte(refusedOfC)); err != nil || s.Accepted || s.Reason != "Above target" {
		t.Errorf("%+v, %v", s, err)
	}
	if user, n, err := ParseRemoteWorkers([]byte(workersOfC)); err != nil || user != "alice" || n != 3 {
		t.Errorf("%q, %d, %v", user, n, err)
	}
	if got := string(AppendRemotePong(nil)); got != `{"method":"pong"}`+"\n" {
		t.Error(got)
	}
	const written = `{"workinfoid":31,"clientid":0,"enonce1":"b0a1aa66","nonce2":"0000000000000004","nonce":"9c01ff02","ntime":"68e77815","diff":512.0,"sdiff":733.10000000000002,"hash":"000000000016a1b0c3d4e5f60718293a4b5c6d7e8f9011223344556677889900","result":true,"errn":0,"workername":"alice.rig1","username":"alice","address":"192.0.2.9","agent":"miner/1.2","method":"share"}` + "\n"
	_ = s.Parse([]byte(shareOfC))
	s.Job, s.User, s.Achieved = 31, "alice", 733.1
	if got := string(s.Append(nil, "192.0.2.9")); got != written {
		t.Errorf("a share is written as\n%s", got)
	}
	if got := string(l.Append(nil)); got != `{"params":["alice.rig1","x"],"id":2,"method":"auth","useragent":"miner/1.2","enonce1":"","address":"192.0.2.9","clientid":77}`+"\n" {
		t.Errorf("a login is written as\n%s", got)
	}
	if got := string(AppendRemoteWorkers(nil, "alice", 3)); got != workersOfC+"\n" {
		t.Error(got)
	}
	if client, refused, err := ParseRemoteResult([]byte(`{"result":true,"error":null,"id":2,"method":"auth.result","client_id":77}`)); client != 77 || refused || err != nil {
		t.Errorf("%d %v %v", client, refused, err)
	}
	if _, _, err := ParseRemoteResult([]byte(`{"result":true,"method":"auth.result"}`)); err == nil {
		t.Error("an answer to nobody")
	}
	for _, bad := range []string{
		strings.Replace(shareOfC, `"diff":512.0`, `"diff":1e30`, 1), strings.Replace(shareOfC, `"diff":512.0`, `"diff":-1`, 1),
		strings.Replace(shareOfC, `"diff":512.0,`, ``, 1), strings.Replace(shareOfC, `"workername":"alice.rig1",`, ``, 1), `{}`, `[]`,
	} {
		if err := s.Parse([]byte(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	for _, bad := range []string{strings.Replace(authOfC, `"clientid":77`, `"clientid":"x"`, 1), `{"method":"auth","clientid":1,"params":[]}`} {
		if err := l.Parse([]byte(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func FuzzRemoteOfC(f *testing.F) {
	for _, line := range []string{authOfC, shareOfC, refusedOfC, workersOfC, pingOfC} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		_, _ = RemoteMethod(line)
		var s RemoteShareLine
		if s.Parse(line) == nil && (s.Worker == "" || !(s.Difficulty > 0)) {
			t.Errorf("%+v", s)
		}
		var l RemoteLogin
		if l.Parse(line) == nil {
			if out := l.AppendResult(nil, "no"); strings.Count(string(out), "\n") != 1 {
				t.Errorf("%q", out)
			}
		}
		_, _, _ = ParseRemoteWorkers(line)
		_, _, _ = ParseRemoteResult(line)
	})
}
