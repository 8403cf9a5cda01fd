//go:build linux

package server_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"testing"
	"time"

	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/stratum/server"
)

// Whatever a client says, what it hears is lines of JSON, and others are served.
func FuzzLines(f *testing.F) {
	s, addr := start(f, server.Handler{
		Configure: func(_ *server.Session, c *stratum.Configure) (uint32, bool) { return c.VersionMask, true },
		Submit:    func(*server.Session, *stratum.Submit) *stratum.Reject { return nil },
	}, server.Options{Loops: 1})
	s.Broadcast(work("1f"))
	f.Add([]byte(`{"id":1,"method":"mining.subscribe","params":["a/1","0"]}` + "\n" + `{"id":"2","method":"mining.authorize","params":["bob","x"]}` + "\n" +
		`{"id":[],"method":"mining.submit","params":["bob","1f","0000000000000000","6b02867d","7","00002000"]}` + "\n"))
	f.Add([]byte(`{"id":3,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000"}]}` + "\n" + `{"method":"mining.suggest_target(ff)"}` + "\n"))
	f.Add([]byte("[]\n\n{}\n{\"id\":{},\"method\":7}\nx"))
	f.Fuzz(func(t *testing.T, said []byte) {
		if bytes.HasPrefix(said, []byte("GET ")) || bytes.HasPrefix(said, []byte{0x16}) {
			return // a browser, or TLS, is told so in its own way
		}
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		conn.Write(append(said, '\n')) // it may be closed meanwhile
		conn.(*net.TCPConn).CloseWrite()
		heard, _ := io.ReadAll(conn) // likewise
		for line := range bytes.Lines(heard) {
			if bytes.HasSuffix(line, []byte("\n")) && !json.Valid(line) && !bytes.HasPrefix(heard, []byte("HTTP/")) {
				t.Fatalf("said %q, heard %q", said, line)
			}
		}
	})
}
