package netserver

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"
)

const (
	v2Signature = "0d0a0d0a000d0a515549540a"
	v4Addresses = "cb007109" + "c0000201" + "dcba" + "0d05" // 203.0.113.9:56506 -> 192.0.2.1:3333
	v6Addresses = "20010db8000000000000000000000009" + "20010db8000000000000000000000001" + "dcba" + "0d05"
)

func unhex(s string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// withChecksum appends a checksum to a header whose length counts it already.
func withChecksum(header string) string {
	b := append([]byte(header), 3, 0, 4, 0, 0, 0, 0)
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(b[len(b)-4:], sum)
	return string(b)
}

var proxyHeaders = []struct {
	name, header string
	source       string // empty: the peer's own
	err          error
}{
	{"v1 TCP4", "PROXY TCP4 203.0.113.9 192.0.2.1 56506 3333\r\n", "203.0.113.9:56506", nil},
	{"v1 TCP6", "PROXY TCP6 2001:db8::9 2001:DB8::1 56506 3333\r\n", "[2001:db8::9]:56506", nil},
	{"v1 longest TCP4", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535", nil},
	{"v1 longest TCP6", "PROXY TCP6 " + strings.Repeat("ffff:", 7) + "ffff " + strings.Repeat("ffff:", 7) + "ffff 65535 65535\r\n",
		"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", nil},
	{"v1 IPv4 inside IPv6", "PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n", "203.0.113.9:1", nil},
	{"v1 port 0", "PROXY TCP4 203.0.113.9 192.0.2.1 0 0\r\n", "203.0.113.9:0", nil},
	{"v1 unknown", "PROXY UNKNOWN\r\n", "", nil},
	{"v1 unknown with anything", "PROXY UNKNOWN ffff:f...f:ffff  65535 x\r\n", "", nil},
	{"v1 longest", "PROXY UNKNOWN " + strings.Repeat("x", 107-16) + "\r\n", "", nil},
	{"v1 too long", "PROXY UNKNOWN " + strings.Repeat("x", 107-15) + "\r\n", "", errProxyLine},
	{"v1 LF alone", "PROXY TCP4 203.0.113.9 192.0.2.1 56506 3333\n" + strings.Repeat(" ", 107), "", errProxyLine},
	{"v1 CR alone", "PROXY TCP4 203.0.113.9 192.0.2.1 56506 3333\r" + strings.Repeat(" ", 107), "", errProxyLine},
	{"v1 two spaces", "PROXY TCP4  203.0.113.9 192.0.2.1 56506 3333\r\n", "", errProxyLine},
	{"v1 space at the end", "PROXY TCP4 203.0.113.9 192.0.2.1 56506 3333 \r\n", "", errProxyLine},
	{"v1 leading zero in a port", "PROXY TCP4 203.0.113.9 192.0.2.1 056506 3333\r\n", "", errProxyLine},
	{"v1 leading zero in an address", "PROXY TCP4 203.0.113.09 192.0.2.1 56506 3333\r\n", "", errProxyLine},
	{"v1 port too large", "PROXY TCP4 203.0.113.9 192.0.2.1 65536 3333\r\n", "", errProxyLine},
	{"v1 signed port", "PROXY TCP4 203.0.113.9 192.0.2.1 +1 3333\r\n", "", errProxyLine},
	{"v1 wrong family", "PROXY TCP4 2001:db8::9 192.0.2.1 1 2\r\n", "", errProxyLine},
	{"v1 wrong family 6", "PROXY TCP6 203.0.113.9 2001:db8::9 1 2\r\n", "", errProxyLine},
	{"v1 zone", "PROXY TCP6 fe80::1%eth0 2001:db8::9 1 2\r\n", "", errProxyLine},
	{"v1 no addresses", "PROXY TCP4\r\n", "", errProxyLine},
	{"v1 UDP", "PROXY UDP4 203.0.113.9 192.0.2.1 1 2\r\n", "", errProxyLine},
	{"v1 lower case", "proxy TCP4 203.0.113.9 192.0.2.1 1 2\r\n", "", errNoProxyHeader},

	{"v2 TCP4", unhex(v2Signature + "21 11 000c" + v4Addresses), "203.0.113.9:56506", nil},
	{"v2 TCP6", unhex(v2Signature + "21 21 0024" + v6Addresses), "[2001:db8::9]:56506", nil},
	{"v2 IPv4 inside IPv6", unhex(v2Signature + "21 21 0024" + "00000000000000000000ffffcb007109" + v6Addresses[32:]), "203.0.113.9:56506", nil},
	{"v2 local", unhex(v2Signature + "20 00 0000"), "", nil},
	{"v2 local with addresses", unhex(v2Signature + "20 11 000c" + v4Addresses), "", nil},
	{"v2 local with a strange family", unhex(v2Signature + "20 ff 0003 000000"), "", nil},
	{"v2 unspecified", unhex(v2Signature + "21 00 0000"), "", nil},
	{"v2 UDP", unhex(v2Signature + "21 12 000c" + v4Addresses), "", nil},
	{"v2 unix", unhex(v2Signature+"21 31 00d8") + strings.Repeat("x", 216), "", nil},
	{"v2 TLVs", unhex(v2Signature + "21 11 0018" + v4Addresses + "02 0003 616263" + "04 0000" + "e0 0000"), "203.0.113.9:56506", nil},
	{"v2 checksum", withChecksum(unhex(v2Signature + "21 11 0013" + v4Addresses)), "203.0.113.9:56506", nil},
	{"v2 checksum behind others", withChecksum(unhex(v2Signature + "21 11 0016" + v4Addresses + "04 0000")), "203.0.113.9:56506", nil},
	{"v2 of a load balancer, with checksum", unhex(v2Signature+"21 11 0054 7b67c99a ac1f0c37 b116 024b 03 0004 08942207 04 003e") + strings.Repeat("\x00", 62),
		"123.103.201.154:45334", nil},
	{"v2 wrong checksum", unhex(v2Signature + "21 11 0013" + v4Addresses + "03 0004 00000000"), "", errProxyChecksum},
	{"v2 short checksum", unhex(v2Signature + "21 11 0012" + v4Addresses + "03 0003 000000"), "", errProxyBinary},
	{"v2 TLV beyond the end", unhex(v2Signature + "21 11 0010" + v4Addresses + "02 0002 61"), "", errProxyBinary},
	{"v2 cut TLV", unhex(v2Signature + "21 11 000e" + v4Addresses + "02 00"), "", errProxyBinary},
	{"v2 addresses too short", unhex(v2Signature + "21 11 000b" + v4Addresses), "", errProxyBinary},
	{"v2 addresses of the other family", unhex(v2Signature + "21 21 000c" + v4Addresses), "", errProxyBinary},
	{"v2 version 1", unhex(v2Signature + "11 11 000c" + v4Addresses), "", errProxyBinary},
	{"v2 version 3", unhex(v2Signature + "31 11 000c" + v4Addresses), "", errProxyBinary},
	{"v2 command 2", unhex(v2Signature + "22 11 000c" + v4Addresses), "", errProxyBinary},
	{"v2 family 4", unhex(v2Signature + "21 41 000c" + v4Addresses), "", errProxyBinary},
	{"v2 protocol 3", unhex(v2Signature + "21 13 000c" + v4Addresses), "", errProxyBinary},
	{"v2 longest", unhex(v2Signature+"21 11 0ff0"+v4Addresses+"04 0fe1") + strings.Repeat("x", 4065), "203.0.113.9:56506", nil},
	{"v2 too long", unhex(v2Signature+"21 11 0ff1"+v4Addresses+"04 0fe2") + strings.Repeat("x", 4066), "", errProxyLong},

	{"stratum", `{"id":1,"method":"mining.subscribe","params":[]}` + "\n", "", errNoProxyHeader},
	{"TLS", unhex("160301020001"), "", errNoProxyHeader},
	{"HTTP", "POST / HTTP/1.1\r\n", "", errNoProxyHeader},
	{"almost v2", unhex("0d0a0d0a000d0a515549540d"), "", errNoProxyHeader},
	{"empty line", "\r\n{}\r\n", "", errNoProxyHeader},
}

func TestProxyHeader(t *testing.T) {
	for _, v := range proxyHeaders {
		t.Run(v.name, func(t *testing.T) {
			data := []byte(v.header + "first line\n")
			source, n, err := parseProxyHeader(data)
			if err != v.err {
				t.Fatalf("error %v, want %v", err, v.err)
			}
			if err != nil {
				if n != 0 || source.IsValid() {
					t.Errorf("%v, %d beside an error", source, n)
				}
				return
			}
			if n != len(v.header) {
				t.Errorf("length %d, want %d", n, len(v.header))
			}
			var want netip.AddrPort
			if v.source != "" {
				want = netip.MustParseAddrPort(v.source)
			}
			if source != want {
				t.Errorf("source %v, want %v", source, want)
			}
			for i := range n {
				if source, n, err := parseProxyHeader(data[:i]); n != 0 || err != nil || source.IsValid() {
					t.Fatalf("after %d bytes: %v, %d, %v; want more to be needed", i, source, n, err)
				}
			}
		})
	}
}

func FuzzProxyHeader(f *testing.F) {
	for _, v := range proxyHeaders {
		f.Add([]byte(v.header))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		source, n, err := parseProxyHeader(b)
		if !bytes.Equal(b, before) {
			t.Fatal("the input was changed")
		}
		switch {
		case err != nil:
			if n != 0 || source.IsValid() {
				t.Fatalf("%v, %d beside error %v", source, n, err)
			}
			return
		case n == 0:
			if len(b) >= maxProxyHeader {
				t.Fatalf("more than %d bytes are wanted", len(b))
			}
			return
		case n > len(b) || n > maxProxyHeader:
			t.Fatalf("length %d of %d bytes", n, len(b))
		case source.Addr().Zone() != "" || source.Addr().Is4In6():
			t.Fatalf("source %v would count apart from its plain form", source)
		}
		// What follows the header has no influence, a beginning decides nothing.
		again, m, err := parseProxyHeader(append(b[:n:n], "more"...))
		if again != source || m != n || err != nil {
			t.Fatalf("with other bytes behind: %v, %d, %v; was %v, %d", again, m, err, source, n)
		}
		for i := range n {
			if _, k, err := parseProxyHeader(b[:i]); k != 0 || err != nil {
				t.Fatalf("the first %d bytes: %d, %v", i, k, err)
			}
		}
	})
}
