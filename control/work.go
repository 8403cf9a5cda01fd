package control

// MinersWork is the work that a miner has, taken apart. Hashes, scripts and other bytes
// are hex; hashes have the most significant byte first.
type MinersWork struct {
	Worker            string   `json:"worker"`       // name, with the user's
	Job               string   `json:"job"`          // id, as mining.notify has it
	Made              Time     `json:"made"`         // when the job was
	Height            int64    `json:"height"`       // of the block that is mined, 0 where another pool does not tell
	PrevHash          string   `json:"prevhash"`     // of the block before
	Version           string   `json:"version"`      // this and the next two are 8 digits
	Bits              string   `json:"bits"`         // compact target
	NTime             string   `json:"ntime"`        // of the header
	NetworkDifficulty float64  `json:"netdiff"`      // of the block that is mined
	Reward            int64    `json:"reward"`       // satoshis, the sum of the outputs
	Fees              int64    `json:"fees"`         // of them, of transactions; -1 unknown
	Transactions      int64    `json:"transactions"` // without the coinbase; -1 unknown
	Coinbase          string   `json:"coinbase"`     // without witness, extranonce2 being zero
	TxID              string   `json:"txid"`         // of it
	Extranonce1       string   `json:"enonce1"`      // of the miner
	Extranonce2Len    int64    `json:"nonce2len"`    // bytes
	ScriptSig         string   `json:"scriptsig"`    // of the coinbase's input
	Text              string   `json:"text"`         // what of ScriptSig can be printed
	Outputs           []Output `json:"outputs"`      // in their order
	Branch            []string `json:"branch"`       // what the coinbase's hash is combined with, as mining.notify has it
	MerkleRoot        string   `json:"merkleroot"`   // of the coinbase and the branch
	// Check tells how the root compares with that of the coinbase and all transactions:
	// ok, differs, or unknown where these are not known.
	Check string `json:"check"`
}

// Output is one of a coinbase.
type Output struct {
	Value   int64  `json:"value"`   // satoshis
	Address string `json:"address"` // "" where the script has none
	Script  string `json:"script"`  // of the output
}
