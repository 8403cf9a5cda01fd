//go:build linux

package netserver

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"net"
	"strings"
	"testing"
)

// rawTLS is a client that writes its records itself, after an ordinary
// handshake.
type rawTLS struct {
	t      *testing.T
	secret []byte
	seal   cipher.AEAD
	iv     []byte
	seq    uint64
}

// shakeRaw makes the handshake of TLS 1.3 on c.
func shakeRaw(t *testing.T, c net.Conn) *rawTLS {
	t.Helper()
	var secrets bytes.Buffer
	over := tls.Client(c, &tls.Config{InsecureSkipVerify: true, KeyLogWriter: &secrets})
	if err := over.Handshake(); err != nil {
		t.Fatal(err)
	}
	if over.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		t.Skip("another cipher is preferred here")
	}
	r := &rawTLS{t: t}
	for line := range strings.Lines(secrets.String()) {
		if f := strings.Fields(line); f[0] == "CLIENT_TRAFFIC_SECRET_0" {
			r.secret, _ = hex.DecodeString(f[2])
		}
	}
	r.key()
	return r
}

func (r *rawTLS) expand(label string, n int) []byte {
	label = "tls13 " + label
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(append(append(info, byte(len(label))), label...), 0)
	b, err := hkdf.Expand(sha256.New, r.secret, string(info), n)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// key begins with a secret.
func (r *rawTLS) key() {
	block, err := aes.NewCipher(r.expand("key", 16))
	if err == nil {
		r.seal, err = cipher.NewGCM(block)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.iv, r.seq = r.expand("iv", 12), 0
}

// record appends a record; kind is 22 for a handshake message, 23 for data.
func (r *rawTLS) record(to []byte, kind byte, data ...byte) []byte {
	plain := append(data, kind)
	header := binary.BigEndian.AppendUint16([]byte{23, 3, 3}, uint16(len(plain)+16))
	nonce := bytes.Clone(r.iv)
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^r.seq)
	r.seq++
	return append(to, r.seal.Seal(header, nonce, plain, header)...)
}

// keyUpdate appends a change of keys that asks for one in return.
func (r *rawTLS) keyUpdate(to []byte) []byte {
	to = r.record(to, 22, 24, 0, 0, 1, 1)
	r.secret = r.expand("traffic upd", sha256.Size)
	r.key()
	return to
}

// A peer that asks for new keys without end, and reads none of the answers, is
// not read any more once these are as long as other answers may be.
func TestKeyUpdatesAreBounded(t *testing.T) {
	r := start(t, Config{}, func(p *probe) {
		p.open = smallSendBuffer
		p.line = func(p *probe, s Slot, line []byte) {
			if len(line) > 0 {
				p.l.Write(s, make([]byte, 40<<10))
			}
		}
	}, transport{tls: true}.preparing(t))
	c := dialFrom(t, r.second(), "", 4<<10)
	raw := shakeRaw(t, c.TCPConn)
	if _, err := c.Write(raw.record(nil, 23, 'x', '\n')); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a backlog", func() bool { return r.Stats().BacklogClients == 1 })
	const updates = 20000
	var all []byte
	for range updates {
		all = raw.record(raw.keyUpdate(all), 23, '\n') // many in a row would end the connection
	}
	go func() { _, _ = c.Write(all) }()
	eventually(t, "the answers are counted", func() bool { return r.Stats().BacklogBytes > muteAt })
	if n := r.Stats().BacklogBytes; n > 3*muteAt {
		t.Errorf("a backlog of %d bytes", n)
	}
}

// Why TLS ends in the middle is in the log.
func TestBrokenRecordIsExplained(t *testing.T) {
	r := start(t, Config{}, nil, transport{tls: true}.preparing(t))
	c := dialFrom(t, r.second(), "", 0)
	b := shakeRaw(t, c.TCPConn).record(nil, 23, 'x', '\n')
	b[len(b)-1] ^= 1
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	eventually(t, "dropped", func() bool { return r.rec.closes(TLSFailed) == 1 })
	if r.rec.eventsWith("TLS failed: ") != 1 {
		t.Errorf("log: %q", r.rec.events)
	}
}
