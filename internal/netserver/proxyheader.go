package netserver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"strconv"
	"strings"
)

// The header of the PROXY protocol, versions 1 and 2, as HAProxy's
// proxy-protocol.txt of 2020-03-05 describes it.

const (
	proxyV1 = "PROXY "
	proxyV2 = "\r\n\r\n\x00\r\nQUIT\n"

	maxProxyV1 = 107 // bytes with CRLF
	// maxProxyHeader leaves room for what load balancers add to the addresses;
	// with all of a client's TLS data that is some hundred bytes.
	maxProxyHeader = 4096
)

var (
	errNoProxyHeader = errors.New("the connection does not begin with a PROXY header")
	errProxyLine     = errors.New("malformed PROXY line")
	errProxyBinary   = errors.New("malformed PROXY header of version 2")
	errProxyLong     = errors.New("PROXY header too long")
	errProxyChecksum = errors.New("PROXY header with a wrong checksum")
)

// parseProxyHeader reads the header that b begins with. n is its length, 0 when
// it goes on behind b. source is the address of the client, not valid when that
// is the peer itself (health checks of the proxy) or unknown to it.
func parseProxyHeader(b []byte) (source netip.AddrPort, n int, err error) {
	switch {
	case begins(b, proxyV2):
		return parseProxyV2(b)
	case begins(b, proxyV1):
		return parseProxyV1(b)
	}
	return source, 0, errNoProxyHeader
}

// begins tells that b and signature are the same as far as both go.
func begins(b []byte, signature string) bool {
	n := min(len(b), len(signature))
	return string(b[:n]) == signature[:n]
}

func parseProxyV1(b []byte) (source netip.AddrPort, n int, err error) {
	end := bytes.Index(b[:min(len(b), maxProxyV1)], []byte("\r\n"))
	switch {
	case end < 0 && len(b) >= maxProxyV1:
		return source, 0, errProxyLine
	case end < 0:
		return source, 0, nil
	}
	n = end + 2
	rest := string(b[len(proxyV1):end])
	protocol, addresses, _ := strings.Cut(rest, " ")
	if protocol == "UNKNOWN" {
		return source, n, nil
	}
	f := strings.Split(addresses, " ")
	if len(f) != 4 || protocol != "TCP4" && protocol != "TCP6" {
		return source, 0, errProxyLine
	}
	from, ok1 := proxyAddr(protocol, f[0])
	_, ok2 := proxyAddr(protocol, f[1])
	port, ok3 := proxyPort(f[2])
	_, ok4 := proxyPort(f[3])
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return source, 0, errProxyLine
	}
	return netip.AddrPortFrom(from, port), n, nil
}

func proxyAddr(protocol, s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	return a.Unmap(), err == nil && a.Zone() == "" && a.Is4() == (protocol == "TCP4")
}

// proxyPort takes a decimal number without leading zeros.
func proxyPort(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && strconv.FormatUint(n, 10) == s
}

func parseProxyV2(b []byte) (source netip.AddrPort, n int, err error) {
	const (
		fixed = len(proxyV2) + 4
		local = 0x20
		proxy = 0x21
	)
	if len(b) > len(proxyV2) && b[len(proxyV2)] != local && b[len(proxyV2)] != proxy {
		return source, 0, errProxyBinary
	}
	if len(b) < fixed {
		return source, 0, nil
	}
	command, family := b[len(proxyV2)], b[len(proxyV2)+1]
	n = fixed + int(binary.BigEndian.Uint16(b[fixed-2:]))
	switch {
	case n > maxProxyHeader:
		return source, 0, errProxyLong
	case len(b) < n:
		return source, 0, nil
	case command == local:
		return source, n, nil
	case family>>4 > 3 || family&15 > 2:
		return source, 0, errProxyBinary
	}
	size := 0 // of an address
	switch family {
	case 0x11: // TCP over IPv4
		size = 4
	case 0x21: // TCP over IPv6
		size = 16
	default: // valid, but not what a miner comes over
		return source, n, nil
	}
	header := b[:n]
	block := header[fixed:]
	if len(block) < 2*size+4 {
		return source, 0, errProxyBinary
	}
	from, _ := netip.AddrFromSlice(block[:size])
	source = netip.AddrPortFrom(from.Unmap(), binary.BigEndian.Uint16(block[2*size:]))
	if err := checkProxyTLVs(header, fixed+2*size+4); err != nil {
		return netip.AddrPort{}, 0, err
	}
	return source, n, nil
}

// checkProxyTLVs goes through what stands behind the addresses, and verifies
// the checksum if it is there.
func checkProxyTLVs(header []byte, at int) error {
	const crc32c = 0x03
	for at < len(header) {
		if len(header)-at < 3 {
			return errProxyBinary
		}
		kind, value := header[at], at+3
		at = value + int(binary.BigEndian.Uint16(header[at+1:]))
		switch {
		case at > len(header):
			return errProxyBinary
		case kind != crc32c:
			continue
		case at != value+4:
			return errProxyBinary
		}
		// The sum is that of the header with zeros in its place.
		table := crc32.MakeTable(crc32.Castagnoli)
		sum := crc32.Update(0, table, header[:value])
		sum = crc32.Update(sum, table, []byte{0, 0, 0, 0})
		sum = crc32.Update(sum, table, header[at:])
		if sum != binary.BigEndian.Uint32(header[value:]) {
			return errProxyChecksum
		}
	}
	return nil
}
