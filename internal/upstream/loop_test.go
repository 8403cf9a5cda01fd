package upstream

import (
	"net"
	"net/netip"
	"testing"

	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/stratum/client"
)

// Work is known again that comes back with something between what was given and the free
// bytes; what another connection of the same pool gets is not taken for it.
func TestGivenComesBack(t *testing.T) {
	job := func(coinb1, extranonce1 string, free int, coinb2 string, prevHash byte) *client.Notify {
		return &client.Notify{
			Notify:     stratum.Notify{PrevHash: [32]byte{prevHash}, Coinb1: []byte(coinb1), Coinb2: []byte(coinb2)},
			Extranonce: stratum.Extranonce{Extranonce1: []byte(extranonce1), Extranonce2Len: free},
		}
	}
	g := given{lines: map[*line]*recentWork{}}
	a, b := &line{}, &line{}
	for n := range byte(9) {
		g.add(a, job("head", "1111", 8, "tail", n))
	}
	g.add(b, job("HEAD", "", 8, "tail", 8))
	for name, tt := range map[string]struct {
		n    *client.Notify
		want bool
	}{
		"from a proxy before us":                {job("head1111", "xx", 6, "tail", 8), true},
		"padded":                                {job("head1111\x00\x00", "xx", 4, "tail", 8), true},
		"of a proxy that lengthens extranonce1": {job("head", "1111xx", 6, "tail", 8), true},
		"one of the last":                       {job("head1111", "xx", 6, "tail", 5), true},
		"long ago":                              {job("head1111", "xx", 6, "tail", 4), false},
		"the same once more":                    {job("head", "1111", 8, "tail", 8), false},
		"another connection":                    {job("head", "1112", 8, "tail", 8), false},
		"that one by a proxy":                   {job("head1112", "xx", 6, "tail", 8), false},
		"another size":                          {job("head1111", "xx", 8, "tail", 8), false},
		"another end":                           {job("head1111", "xx", 6, "TAIL", 8), false},
		"without an extranonce1":                {job("HEADxx", "xx", 4, "tail", 8), false},
	} {
		if got := g.comesBack(tt.n); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	g.remove(a)
	g.remove(b)
	if len(g.lines) != 0 || g.comesBack(job("head1111", "xx", 6, "tail", 8)) {
		t.Error("a connection that has ended is remembered")
	}
}

func TestOwn(t *testing.T) {
	at := netip.MustParseAddrPort
	local := func(ip netip.Addr) bool { return ip.IsLoopback() || ip == netip.MustParseAddr("10.0.0.7") }
	for _, tt := range []struct {
		at, listening string
		want          bool
	}{
		{"127.0.0.1:3333", "127.0.0.1:3333", true},
		{"127.0.0.1:3334", "127.0.0.1:3333", false},
		{"127.0.0.2:3333", "127.0.0.1:3333", false},
		{"127.0.0.2:3333", "0.0.0.0:3333", true},
		{"10.0.0.7:3333", "[::]:3333", true},
		{"[::ffff:10.0.0.7]:3333", "10.0.0.7:3333", true},
		{"10.0.0.8:3333", "[::]:3333", false},
	} {
		if got := Own(at(tt.at), []netip.AddrPort{at("192.0.2.1:1"), at(tt.listening)}, local); got != tt.want {
			t.Errorf("%s at %s: %v", tt.at, tt.listening, got)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	if !OwnConn(c, []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Unspecified(), port)}) || OwnConn(c, []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Unspecified(), port+1)}) {
		t.Error("a connection of one's own is not told from others")
	}
}
