package address

// validWitness and invalidWitness are the address vectors of BIP350 and those
// of BIP173 that BIP350 did not make void.
var validWitness = []struct{ addr, script string }{
	{"BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", "0014751e76e8199196d454941c45d1b3a323f1433bd6"},
	{"tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7", "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262"},
	{"bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y", "5128751e76e8199196d454941c45d1b3a323f1433bd6751e76e8199196d454941c45d1b3a323f1433bd6"},
	{"BC1SW50QGDZ25J", "6002751e"},
	{"bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs", "5210751e76e8199196d454941c45d1b3a323"},
	{"tb1qqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesrxh6hy", "0020000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433"},
	{"tb1pqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesf3hn0c", "5120000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433"},
	{"bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0", "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"},
}

var invalidWitness = []struct{ addr, why string }{
	// BIP350
	{"tc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq5zuyut", "prefix"},
	{"bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd", "kind"},
	{"tb1z0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqglt7rf", "kind"},
	{"BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL", "kind"},
	{"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh", "kind"},
	{"tb1q0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq24jc47", "kind"},
	{"bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4", "invalid character \"o\" at position 60"},
	{"BC130XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ7ZWS8R", "witness version 17"},
	{"bc1pw5dgrnzv", "1 bytes"},
	{"bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v8n0nx0muaewav253zgeav", "41 bytes"},
	{"BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P", "version 0 witness program of 16 bytes"},
	{"tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq47Zagq", "mixes upper and lower case"},
	{"bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v07qwwzcrf", "padding"},
	{"tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vpggkg4j", "padding"},
	{"bc1gmk9yu", "no witness version"},
	// BIP173
	{"tc1qw508d6qejxtdg4y5r3zarvary0c5xw7kg3g4ty", "prefix"},
	{"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5", "checksum is wrong"},
	{"BC13W508D6QEJXTDG4Y5R3ZARVARY0C5XW7KN40WF2", "witness version 17"},
	{"bc1rw5uspcuh", "kind"},
	{"bc10w508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kw5rljs90", "kind"},
	{"tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sL5k7", "mixes"},
	{"bc1zw508d6qejxtdg4y5r3zarvaryvqyzf3du", "kind"},
	{"tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3pjxtptv", "padding"},
	// valid under BIP173, void since BIP350
	{"bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7k7grplx", "kind"},
	{"BC1SW50QA3JX3S", "kind"},
	{"bc1zw508d6qejxtdg4y5r3zarvaryvg6kdaj", "kind"},
}

var bech32Strings = []struct {
	s        string
	constant uint32 // 0: invalid
}{
	{"A12UEL5L", bech32Const},
	{"a12uel5l", bech32Const},
	{"an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs", bech32Const},
	{"abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw", bech32Const},
	{"11qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqc8247j", bech32Const},
	{"split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w", bech32Const},
	{"?1ezyfcl", bech32Const},
	{"A1LQFN3A", bech32mConst},
	{"a1lqfn3a", bech32mConst},
	{"an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6", bech32mConst},
	{"abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx", bech32mConst},
	{"11llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllludsr8", bech32mConst},
	{"split1checkupstagehandshakeupstreamerranterredcaperredlc445v", bech32mConst},
	{"?1v759aa", bech32mConst},

	{"\x201nwldj5", 0},
	{"\x7f1axkwrx", 0},
	{"\x801eym55h", 0},
	{"an84characterslonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1569pvx", 0},
	{"pzry9x0s0muk", 0},
	{"1pzry9x0s0muk", 0},
	{"x1b4n0q5v", 0},
	{"li1dgmt3", 0},
	{"de1lg7wt\xff", 0},
	{"A1G7SGD8", 0},
	{"10a06t8", 0},
	{"1qzzfhee", 0},
	{"\x201xj0phk", 0},
	{"\x7f1g6xzxy", 0},
	{"\x801vctc34", 0},
	{"an84characterslonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11d6pts4", 0},
	{"qyrz8wqd2c9m", 0},
	{"1qyrz8wqd2c9m", 0},
	{"y1b0jsk6g", 0},
	{"lt1igcx5c0", 0},
	{"in1muywd", 0},
	{"mm1crxm3i", 0},
	{"au1s5cgom", 0},
	{"M1VUXWEZ", 0},
	{"16plkw9", 0},
	{"1p2gdwpf", 0},
}

// addresses are of every type and network, with their output scripts.
var addresses = []struct {
	addr, script string
	kind         Type
	network      Network
}{
	{"1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "76a91477bff20c60e522dfaa3350c39b030a5d004e839a88ac", P2PKH, Main},
	{"1111111111111111111114oLvT2", "76a914000000000000000000000000000000000000000088ac", P2PKH, Main},
	{"1QLbz7JHiBTspS962RLKV8GndWFwi5j6Qr", "76a914ffffffffffffffffffffffffffffffffffffffff88ac", P2PKH, Main},
	{"3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", "a914b472a266d0bd89c13706a4132ccfb16f7c3b9fcb87", P2SH, Main},
	{"mrCDrCybB6J1vRfbwM5hemdJz73FwDBC8r", "76a914751e76e8199196d454941c45d1b3a323f1433bd688ac", P2PKH, Test},
	{"2MzQwSSnBHWHqSAqtTVQ6v47XtaisrJa1Vc", "a9144e9f39ca4688ff102128ea4ccda34105324305b087", P2SH, Test},
	{"bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "0014e8df018c7e326cc253faac7e46cdc51e68542c42", P2WPKH, Main},
	{"bc1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qccfmv3", "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262", P2WSH, Main},
	{"bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr", "5120a60869f0dbcf1dc659c9cecbaf8050135ea9e8cdc487053f1dc6880949dc684c", P2TR, Main},
	{"bcrt1q7v96qwscwmmy7q5sjvw8rawgvxl0gamx6xlltt", "0014f30ba03a1876f64f0290931c71f5c861bef47766", P2WPKH, Regtest},
	{"bcrt1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqc8gma6", "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798", P2TR, Regtest},
	{"tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", "0014751e76e8199196d454941c45d1b3a323f1433bd6", P2WPKH, Test},
	{"bc1pfeessrawgf", "51024e73", PayToAnchor, Main},
	{"bcrt1pfeesnyr2tx", "51024e73", PayToAnchor, Regtest},
	{"BC1SW50QGDZ25J", "6002751e", WitnessUnknown, Main},
	{"bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs", "5210751e76e8199196d454941c45d1b3a323", WitnessUnknown, Main},
}
