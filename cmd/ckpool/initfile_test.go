package main

import (
	"strings"
	"testing"

	"github.com/ckpool/ckpool/bitcoind"
)

// A node that publishes its blocks on a socket is one of this machine like any other: the file
// that is written for it can be used.
func TestInitSocket(t *testing.T) {
	s := setup{initOptions: initOptions{solo: true, listen: "[::]:3333"}}
	s.config = bitcoind.Config{URL: "127.0.0.1:8332", Cookie: "/home/you/.bitcoin/.cookie", ZMQ: []string{"ipc:///run/bitcoind/zmq"}}
	if err := s.wrong("btcd"); err != nil {
		t.Error(err)
	}
}

// What is shown is what a miner and a browser are given.
func TestInitSaysHow(t *testing.T) {
	for _, tt := range []struct{ listen, http, miner, page string }{
		{"[::]:3333", "0.0.0.0:8080", "stratum+tcp://<this machine>:3333\n", "http://<this machine>:8080/ "},
		{"[2001:db8::1]", "[::1]:8080", "stratum+tcp://[2001:db8::1]:3333\n", "http://[::1]:8080/ "},
		{"pool.example:3334", "127.0.0.1:8080", "stratum+tcp://pool.example:3334\n", "http://127.0.0.1:8080/ "},
	} {
		var out strings.Builder
		s := setup{initOptions: initOptions{listen: tt.listen, http: tt.http, output: "ckpool.conf"}, program: "ckpool", out: &out}
		s.sayHow()
		for _, want := range []string{tt.miner, tt.page} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s, %s: it lacks %q:\n%s", tt.listen, tt.http, want, out.String())
			}
		}
	}
}
