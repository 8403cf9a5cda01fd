// Package address turns bitcoin addresses into output scripts and back. It
// knows encodings and checksums only: no node, no keys, no policy about who
// may be paid beyond [Address.Payable].
//
// Base58 addresses (P2PKH, P2SH) carry a double SHA-256 checksum; segregated
// witness addresses follow BIP173 (version 0) and BIP350 (versions 1 to 16).
package address

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Network is the set of chains that share address prefixes.
type Network uint8

const (
	Main    Network = iota // mainnet
	Test                   // testnet3, testnet4 and signet share all prefixes
	Regtest                // base58 prefixes of Test, bech32 prefix bcrt
)

// String is the network in words, for people.
func (n Network) String() string {
	switch n {
	case Main:
		return "mainnet"
	case Test:
		return "testnet or signet"
	case Regtest:
		return "regtest"
	}
	return "unknown network"
}

// NetworkForChain maps a node's chain name (main, mainnet, test, testnet,
// testnet3, testnet4, signet, regtest) to its Network.
func NetworkForChain(chain string) (Network, bool) {
	switch chain {
	case "main", "mainnet":
		return Main, true
	case "test", "testnet", "testnet3", "testnet4", "signet":
		return Test, true
	case "regtest":
		return Regtest, true
	}
	return 0, false
}

// Type is the kind of output an address stands for.
type Type uint8

const (
	P2PKH          Type = iota // pays the hash of a public key: 1…, m…, n…
	P2SH                       // pays the hash of a script: 3…, 2…
	P2WPKH                     // pays the hash of a public key, witness version 0: 20 bytes (BIP141)
	P2WSH                      // pays the hash of a script, witness version 0: 32 bytes (BIP141)
	P2TR                       // pays a taproot output key, witness version 1: 32 bytes (BIP341)
	WitnessUnknown             // valid bech32m of a witness version or length without known rules
	PayToAnchor                // anyone can spend it
)

// String is the type as its constant is called, or in words, for people.
func (t Type) String() string {
	switch t {
	case P2PKH:
		return "P2PKH"
	case P2SH:
		return "P2SH"
	case P2WPKH:
		return "P2WPKH"
	case P2WSH:
		return "P2WSH"
	case P2TR:
		return "P2TR"
	case WitnessUnknown:
		return "unknown witness version"
	case PayToAnchor:
		return "pay-to-anchor"
	}
	return "unknown type"
}

// maxProgram is the longest witness program (BIP141).
const maxProgram = 40

// Address is a decoded address. Addresses are equal (==) if and only if their
// canonical strings are. The zero value is not valid.
type Address struct {
	payload [maxProgram]byte // hash160, or witness program
	length  uint8            // bytes of payload in use; 0 only in the zero value
	version uint8            // witness version
	kind    Type
	network Network // base58: Main or Test
}

// Fold is a name as accounts are compared: bech32, which may be written in capital
// letters (BIP173), in small ones, and everything else as it is. It need be no address.
func Fold(name string) string {
	i := strings.IndexByte(name, '1')
	if i < 0 {
		return name
	}
	for _, c := range []byte(name) {
		if c >= utf8.RuneSelf || 'a' <= c && c <= 'z' { // no address in capital letters
			return name
		}
	}
	lower := strings.ToLower(name)
	for _, prefix := range bech32Prefix {
		if lower[:i] == prefix {
			return lower
		}
	}
	return name
}

// Parse decodes s and checks its checksum, prefix and length. Bech32 may be
// all lower or all upper case, not mixed. The error says what is wrong with s
// without repeating it.
func Parse(s string) (Address, error) {
	if i := strings.LastIndexByte(s, '1'); i > 0 {
		hrp := strings.ToLower(s[:i])
		for n, prefix := range bech32Prefix {
			if hrp == prefix {
				return parseWitness(s, Network(n))
			}
		}
	}
	a, err := parseBase58(s)
	if err != nil && isBech32(s) {
		return Address{}, errors.New("address prefix is not one of bitcoin's (bc, tb, bcrt)")
	}
	return a, err
}

// String returns the canonical text, bech32 in lower case; "" for the zero
// value.
func (a Address) String() string {
	switch {
	case a.length == 0:
		return ""
	case a.isBase58():
		return a.encodeBase58()
	}
	return encodeWitness(bech32Prefix[a.network], a.version, a.program())
}

// Type tells the kind of output.
func (a Address) Type() Type { return a.kind }

// On reports whether the address is one of network n. Base58 addresses of
// test networks are on both Test and Regtest.
func (a Address) On(n Network) bool {
	if a.length == 0 {
		return false
	}
	return a.network == n || a.isBase58() && a.network == Test && n == Regtest
}

// Network is the network the address is written for; for a base58 address of
// the test networks that is Test, although it is valid on Regtest too.
func (a Address) Network() Network { return a.network }

// Payable reports why the address must not be a payout target: what is paid
// to pay-to-anchor or to a witness version without rules can be taken by
// anyone, what is paid to a taproot key that is no point of the curve by
// nobody.
func (a Address) Payable() error {
	switch {
	case a.length == 0:
		return errors.New("no address")
	case a.kind == PayToAnchor:
		return errors.New("pay-to-anchor address: anyone could take the coins")
	case a.kind == WitnessUnknown:
		return errors.New("address of a witness version without rules: anyone could take the coins")
	case a.kind == P2TR && !onCurve(a.program()):
		return errors.New("taproot address without a valid key: nobody could ever spend the coins")
	}
	return nil
}

func (a Address) isBase58() bool { return a.kind == P2PKH || a.kind == P2SH }

func (a *Address) program() []byte { return a.payload[:a.length] }
