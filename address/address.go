// Package address turns bitcoin addresses into output scripts and back. It
// knows encodings and checksums only: no node, no keys, no policy about who
// may be paid beyond [Address.Payable].
package address

// Network is the set of chains that share address prefixes.
type Network uint8

const (
	Main    Network = iota // mainnet
	Test                   // testnet3, testnet4 and signet share all prefixes
	Regtest                // base58 prefixes of Test, bech32 prefix bcrt
)

// Type is the kind of output an address stands for.
type Type uint8

const (
	P2PKH Type = iota
	P2SH
	P2WPKH
	P2WSH
	P2TR
	WitnessUnknown // valid bech32m of a witness version without known rules
	PayToAnchor    // anyone can spend it
)

// Address is a decoded address. The zero value is not valid.
type Address struct{}

// NetworkForChain maps a node's chain name (main, mainnet, test, testnet,
// testnet3, testnet4, signet, regtest) to its Network.
func NetworkForChain(chain string) (Network, bool) { panic("skeleton") }

// Parse decodes s and checks its checksum, prefix and length.
func Parse(s string) (Address, error) { panic("skeleton") }

// FromScript is the inverse of Script for the given network.
func FromScript(script []byte, n Network) (Address, error) { panic("skeleton") }

func (a Address) String() string    { panic("skeleton") } // canonical: bech32 in lower case
func (a Address) Script() []byte    { panic("skeleton") } // output script, 22 to 42 bytes
func (a Address) Type() Type        { panic("skeleton") }
func (a Address) On(n Network) bool { panic("skeleton") } // base58 test addresses are on Test and Regtest
// Payable reports why the address must not be a payout target: pay-to-anchor
// and unknown witness versions.
func (a Address) Payable() error { panic("skeleton") }
