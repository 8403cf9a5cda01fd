package address

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	btcaddress "github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"pgregory.net/rapid"
)

func TestBech32Strings(t *testing.T) {
	for _, tt := range bech32Strings {
		hrp, data, constant, err := decodeBech32(tt.s)
		if tt.constant == 0 {
			if err == nil {
				t.Errorf("%q accepted", tt.s)
			}
			continue
		}
		if err != nil || constant != tt.constant {
			t.Errorf("%q: checksum constant %#x, error %v; want %#x", tt.s, constant, err, tt.constant)
			continue
		}
		if got := encodeBech32(hrp, data, constant); got != strings.ToLower(tt.s) {
			t.Errorf("%q encoded again is %q", tt.s, got)
		}
	}
}

// parsed is an address that is to be read, and to have a script, in hex.
func parsed(t *testing.T, addr, script string) Address {
	t.Helper()
	a, err := Parse(addr)
	if err != nil {
		t.Fatalf("%s: %v", addr, err)
	}
	if got := hex.EncodeToString(a.Script()); got != script {
		t.Errorf("%s: script %s, want %s", addr, got, script)
	}
	return a
}

func TestWitnessVectors(t *testing.T) {
	for _, tt := range validWitness {
		a := parsed(t, tt.addr, tt.script)
		if got := a.String(); got != strings.ToLower(tt.addr) {
			t.Errorf("%s: String %s", tt.addr, got)
		}
	}
	for _, tt := range invalidWitness {
		if _, err := Parse(tt.addr); err == nil || !strings.Contains(err.Error(), tt.why) {
			t.Errorf("%s: error %v, want one with %q", tt.addr, err, tt.why)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, tt := range addresses {
		a := parsed(t, tt.addr, tt.script)
		if a.Type() != tt.kind || a.Network() != tt.network {
			t.Errorf("%s: %v on %v, want %v on %v", tt.addr, a.Type(), a.Network(), tt.kind, tt.network)
		}
		b, err := FromScript(a.Script(), tt.network)
		if err != nil || b != a {
			t.Errorf("%s: FromScript gives %v, %v", tt.addr, b, err)
		}
	}
}

func TestOn(t *testing.T) {
	tests := []struct {
		addr                string
		main, test, regtest bool
	}{
		{"1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", true, false, false},
		{"3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", true, false, false},
		{"mrCDrCybB6J1vRfbwM5hemdJz73FwDBC8r", false, true, true},
		{"2MzQwSSnBHWHqSAqtTVQ6v47XtaisrJa1Vc", false, true, true},
		{"bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", true, false, false},
		{"tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", false, true, false},
		{"bcrt1q7v96qwscwmmy7q5sjvw8rawgvxl0gamx6xlltt", false, false, true},
	}
	for _, tt := range tests {
		a, err := Parse(tt.addr)
		if err != nil {
			t.Fatal(err)
		}
		if a.On(Main) != tt.main || a.On(Test) != tt.test || a.On(Regtest) != tt.regtest {
			t.Errorf("%s: on main %v, test %v, regtest %v", tt.addr, a.On(Main), a.On(Test), a.On(Regtest))
		}
	}
}

// A base58 address derived for regtest must equal the one a user writes.
func TestFromScriptBase58OnRegtest(t *testing.T) {
	a, err := Parse("mrCDrCybB6J1vRfbwM5hemdJz73FwDBC8r")
	if err != nil {
		t.Fatal(err)
	}
	b, err := FromScript(a.Script(), Regtest)
	if err != nil || a != b {
		t.Errorf("got %v, %v; want %v", b, err, a)
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"empty", "", "empty"},
		{"name", "bob", "wrong length"},
		{"cut off", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN", "wrong"},
		{"mistyped", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3", "checksum is wrong"},
		{"one 1 too many", "11BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "length"},
		{"zero for o", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNV02", `invalid character "0" at position 33`},
		{"other coin, base58", "LM2WMpR1Rp6j3Sa59cMXMs1SPzj9eXpGc1", "neither"},
		{"private key", "5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ", "too long"},
		{"other coin, bech32", "ltc1qw508d6qejxtdg4y5r3zarvary0c5xw7kgmn4n9", "prefix"},
		{"very long", "bc1" + strings.Repeat("q", 10000), "too long"},
		{"not UTF-8", "bc1\xff\xfe", "invalid character"},
		{"grows in lower case", "bc1Ⱥ", "invalid character"},
		{"NUL", "bc1q\x00", "invalid character"},
		{"prefix alone", "bc1", "cut off"},
	}
	for _, tt := range tests {
		if a, err := Parse(tt.in); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, error %v; want one with %q", tt.name, a, err, tt.want)
		}
	}
}

func TestFromScriptErrors(t *testing.T) {
	for _, s := range []string{
		"",
		"6a24aa21a9ed0000000000000000000000000000000000000000000000000000000000000000", // data
		"21" + "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798" + "ac",
		"76a91477bff20c60e522dfaa3350c39b030a5d004e839a88",         // cut
		"76a91477bff20c60e522dfaa3350c39b030a5d004e839a88ac00",     // tail
		"0010751e76e8199196d454941c45d1b3a323",                     // version 0 of 16 bytes
		"510175",                                                   // 1 byte
		"5129" + strings.Repeat("00", 41),                          // 41 bytes
		"5114e8df018c7e326cc253faac7e46cdc51e68542c",               // length does not match
		"4f14e8df018c7e326cc253faac7e46cdc51e68542c42",             // OP_1NEGATE
		"6114e8df018c7e326cc253faac7e46cdc51e68542c42",             // OP_NOP
		"a914b472a266d0bd89c13706a4132ccfb16f7c3b9fcb88",           // not OP_EQUAL
		"a91500b472a266d0bd89c13706a4132ccfb16f7c3b9fcb87",         // 21 bytes
		"76a914" + "77bff20c60e522dfaa3350c39b030a5d004e" + "88ac", // short hash
	} {
		script, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		if a, err := FromScript(script, Main); err == nil {
			t.Errorf("%s: %v", s, a)
		}
	}
	if _, err := FromScript([]byte{0x51, 2, 1, 2}, Network(9)); err == nil {
		t.Error("unknown network accepted")
	}
}

func TestPayable(t *testing.T) {
	tests := []struct{ addr, want string }{
		{"1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", ""},
		{"3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", ""},
		{"bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", ""},
		{"bc1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qccfmv3", ""},
		{"bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr", ""},
		{"tb1pqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesf3hn0c", ""},
		{"bc1pfeessrawgf", "anyone"},
		{"BC1SW50QGDZ25J", "anyone"},
		{"bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y", "anyone"},
	}
	for _, tt := range tests {
		a, err := Parse(tt.addr)
		if err != nil {
			t.Fatal(err)
		}
		err = a.Payable()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.addr, err, tt.want)
		}
	}
}

// The taproot check agrees with another implementation of the curve.
func TestTaprootKeyOnCurve(t *testing.T) {
	// x = 5 is on no point; p itself is out of range although p mod p is not.
	offCurve := make([]byte, 32)
	offCurve[31] = 5
	tooLarge, _ := hex.DecodeString("fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc30")
	for _, x := range [][]byte{offCurve, tooLarge} {
		a, err := FromScript(append([]byte{0x51, 32}, x...), Main)
		if err != nil {
			t.Fatal(err)
		}
		if a.Payable() == nil {
			t.Errorf("%x is payable", x)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "x")
		if got, want := onCurve(x), parsesAsKey(x); got != want {
			t.Fatalf("%x: on curve %v, want %v", x, got, want)
		}
	})
}

func TestZeroValue(t *testing.T) {
	var a Address
	if a.String() != "" || a.Script() != nil || a.Payable() == nil || a.On(Main) {
		t.Errorf("the zero value acts like an address: %q %x", a.String(), a.Script())
	}
}

func TestNetworkForChain(t *testing.T) {
	for chain, want := range map[string]Network{
		"main": Main, "mainnet": Main, "test": Test, "testnet": Test, "testnet3": Test,
		"testnet4": Test, "signet": Test, "regtest": Regtest,
	} {
		if got, ok := NetworkForChain(chain); !ok || got != want {
			t.Errorf("%s: %v, %v", chain, got, ok)
		}
	}
	if _, ok := NetworkForChain("litecoin"); ok {
		t.Error("an unknown chain has a network")
	}
}

var btcdParams = map[Network]*chaincfg.Params{
	Main: &chaincfg.MainNetParams, Test: &chaincfg.TestNet3Params, Regtest: &chaincfg.RegressionNetParams,
}

// Any script of an address type survives script -> address -> text -> address
// -> script, and btcd reads the text as the same script.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]Network{Main, Test, Regtest}).Draw(t, "network")
		bytesOf := func(n int) []byte { return rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "bytes") }
		var script []byte
		switch rapid.IntRange(0, 5).Draw(t, "form") {
		case 0:
			script = append(append([]byte{0x76, 0xa9, 20}, bytesOf(20)...), 0x88, 0xac)
		case 1:
			script = append(append([]byte{0xa9, 20}, bytesOf(20)...), 0x87)
		case 2:
			script = append([]byte{0, 20}, bytesOf(20)...)
		case 3:
			script = append([]byte{0, 32}, bytesOf(32)...)
		case 4:
			script = append([]byte{0x51, 32}, bytesOf(32)...)
		default:
			l := rapid.IntRange(2, 40).Draw(t, "length")
			v := rapid.ByteRange(0x51, 0x60).Draw(t, "version")
			script = append([]byte{v, byte(l)}, bytesOf(l)...)
		}
		a, err := FromScript(script, n)
		if err != nil {
			t.Fatalf("%x: %v", script, err)
		}
		if !a.On(n) {
			t.Fatalf("%v is not on %v", a, n)
		}
		b, err := Parse(a.String())
		if err != nil || b != a || !bytes.Equal(b.Script(), script) {
			t.Fatalf("%x -> %v -> %x, %v", script, a, b.Script(), err)
		}
		checkAgainstBtcd(t, a.String())
	})
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

// checkAgainstBtcd compares Parse with btcd's decoder on every network. btcd
// knows no witness versions but 0 and 1, reads 20-byte version 1 programs as
// P2WPKH, and takes bare keys in hex for addresses.
func checkAgainstBtcd(t fataler, s string) {
	t.Helper()
	a, err := Parse(s)
	for n, params := range btcdParams {
		theirs, theirErr := btcaddress.DecodeAddress(s, params)
		if theirErr == nil && !theirs.IsForNet(params) {
			continue
		}
		if _, isKey := theirs.(*btcaddress.AddressPubKey); isKey {
			continue
		}
		ours := err == nil && a.On(n)
		if ours && a.Type() == WitnessUnknown {
			continue
		}
		if ours != (theirErr == nil) {
			t.Fatalf("%q on %v: ours %v (%v), btcd %v", s, n, a, err, theirErr)
		}
		if !ours {
			continue
		}
		if theirs.EncodeAddress() != a.String() {
			t.Fatalf("%q on %v: canonical %q, btcd %q", s, n, a.String(), theirs.EncodeAddress())
		}
		script, scriptErr := txscript.PayToAddrScript(theirs)
		if a.Type() != PayToAnchor && (scriptErr != nil || !bytes.Equal(script, a.Script())) {
			t.Fatalf("%q on %v: script %x, btcd %x, %v", s, n, a.Script(), script, scriptErr)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, tt := range addresses {
		f.Add(tt.addr)
	}
	for _, tt := range invalidWitness {
		f.Add(tt.addr)
	}
	for _, tt := range bech32Strings {
		f.Add(tt.s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		checkAgainstBtcd(t, s)
		a, err := Parse(s)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r\x00") {
				t.Fatalf("error is not one line: %q", err)
			}
			return
		}
		text := a.String()
		if text != s && text != strings.ToLower(s) {
			t.Fatalf("%q became %q", s, text)
		}
		n := a.Network()
		b, err := FromScript(a.Script(), n)
		if err != nil || b != a {
			t.Fatalf("%q: script %x gives %v, %v", s, a.Script(), b, err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, s := range []string{"1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"} {
		b.Run(s[:3], func(b *testing.B) {
			for b.Loop() {
				if _, err := Parse(s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Accounts are compared as miners may write them: bech32 in capital letters is the same.
func TestFold(t *testing.T) {
	const segwit = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"
	for name, want := range map[string]string{
		segwit: segwit, strings.ToUpper(segwit): segwit, "BCRT1X": "bcrt1x", "TB1": "tb1",
		"Bc1q": "Bc1q", "alice": "alice", "Alice": "Alice", "ALICE1": "ALICE1", "LTC1Q": "LTC1Q", "": "",
		"1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2": "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
		// The Kelvin sign's small letter is k, of a byte instead of three.
		"\u212a\u212a\u212a1": "\u212a\u212a\u212a1", "BC1Q\u212a": "BC1Q\u212a", "\xff1": "\xff1",
	} {
		if got := Fold(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
}
