// Package work turns a template into a job, checks shares of it and assembles
// blocks: coinbase, merkle, header. No I/O, no goroutines, no clock: time comes
// in as arguments.
//
// Byte order: [32]byte hashes are in internal order (as sha256d yields them).
package work

import (
	"ckpool/difficulty"
	"ckpool/stratum"
	"time"
)

// Template is a block template, from whatever source. Immutable.
type Template struct {
	Height            int64
	Version           uint32
	PrevHash          [32]byte
	Bits              uint32
	CurTime, MinTime  uint32 // unix seconds; MinTime = CurTime where the node gives none
	CoinbaseValue     int64  // satoshis
	Flags             []byte // coinbaseaux.flags
	Target            difficulty.Target
	HasCommitment     bool   // template carries a default_witness_commitment (38-byte script or btcd's bare hash)
	DefaultCommitment []byte // the 38-byte script as the node sees it, nil without
	VBRequired        uint32
	LongPollID        string
	Rules             []string
	TxIDs             [][32]byte // in template order
	// raw answer with offsets of transaction data: unexported
}

// ParseTemplate reads the JSON object of a getblocktemplate result with an own
// scanner that leaves transaction data as hex. body is kept (aliased).
func ParseTemplate(body []byte) (*Template, error) { panic("skeleton") }

// ParseReply is ParseTemplate for a whole JSON-RPC reply {"result":…,"error":…,"id":…};
// an error member yields *RPCError-free plain information: code and message.
func ParseReply(body []byte) (t *Template, code int, message string, err error) { panic("skeleton") }

// TxCount, TxSize, Transaction i (raw bytes, decoded now), all for block assembly.
func (t *Template) TxCount() int                             { panic("skeleton") }
func (t *Template) AppendTransaction(b []byte, i int) []byte { panic("skeleton") }

// CheckWitness recomputes the commitment from the wtxids and compares it with
// DefaultCommitment: run off the hot path.
func (t *Template) CheckWitness() error { panic("skeleton") }

func MerkleBranch(txids [][32]byte) [][32]byte                 { panic("skeleton") }
func MerkleRoot(coinbase [32]byte, branch [][32]byte) [32]byte { panic("skeleton") }
func WitnessCommitment(wtxids [][32]byte) [32]byte             { panic("skeleton") } // wtxids[0] is the coinbase's zero
func HeightPush(height int64) []byte                           { panic("skeleton") } // exact BIP34 as consensus serialises it
func DataPush(n int64) []byte                                  { panic("skeleton") } // stratum.md 4.5 number encoding with length byte

// Output is one coinbase output.
type Output struct {
	Script []byte
	Value  int64
}

// Builder holds what all jobs of a pool have in common. Immutable after use.
type Builder struct {
	Tag, Sig         string // pool tag, btcsig (<= 38 bytes)
	PayoutScript     []byte // nil in solo: the payout script is given per share
	DonationScript   []byte
	Donation         float64  // percent, stratum.md 11.7
	Extra            []Output // further outputs a later accounting may fill, after the payout
	Extranonce1Len   int
	Extranonce2Len   int
	VersionMask      uint32
	ExtranoncePrefix []byte // proxies
}

// Profile is how large a coinbase a miner takes, by user agent (decisions.md 18).
type Profile uint8

const (
	ProfileESP32    Profile = iota // 255 bytes, lines of 4,000
	ProfileNiceHash                // 500
	ProfileS19                     // 750, also unknown agents
	ProfileS21                     // 2,250
	ProfileLarge                   // 6,500
	ProfileHuge                    // 16,000
	Profiles
)

// ProfileFor chooses by user agent.
func ProfileFor(userAgent string) Profile { panic("skeleton") }

// Job is immutable. Renderings per profile are made on first use.
type Job struct {
	ID                 uint64
	Template           *Template
	Branch             [][32]byte
	Version            uint32 // template's with the mask's bits cleared
	Mask               uint32 // bits miners may roll: builder's minus vbrequired
	Target             difficulty.Target
	NetworkDifficulty  float64
	NTimeMin, NTimeMax uint32 // inclusive window (decisions.md 8)
	Created            time.Time
}

// Job builds the job: id is the job id; now gives the coinbase its time pushes.
func (b *Builder) Job(t *Template, id uint64, now time.Time) (*Job, error) { panic("skeleton") }

// Coinbase is one rendering of a job's coinbase for a profile: immutable,
// cached in the job. In solo the payout script goes between Mid and Tail.
type Coinbase struct {
	Head, Mid, Tail []byte
}

func (j *Job) Coinbase(p Profile) *Coinbase { panic("skeleton") }

// AppendNotify appends the whole mining.notify line. suffix 0 prints 16 digits.
// payout is nil in pool mode (bytes are then copied from one rendering), the
// miner's output script in solo.
func (j *Job) AppendNotify(b []byte, p Profile, payout []byte, suffix uint8, clean bool) []byte {
	panic("skeleton")
}

// Notify returns the shared pre-rendered pool-mode line, suffix 0.
func (j *Job) Notify(p Profile, clean bool) []byte { panic("skeleton") }

// Share is a computed share.
type Share struct {
	Header     [80]byte
	Hash       [32]byte
	Difficulty float64 // achieved, for reporting
	Block      bool    // hash <= target of the job's own bits, exact
}

// Hash computes a share: no allocation. extranonce1 is the full extranonce1.
// The version is the job's with versionBits put in under mask.
func (j *Job) Hash(out *Share, p Profile, payout, extranonce1 []byte, s *stratum.Submit, versionMask uint32) {
	panic("skeleton")
}

// Block assembles the serialised block of a share, coinbase witness included
// if and only if the coinbase has a commitment output.
func (j *Job) Block(sh *Share, p Profile, payout, extranonce1 []byte, s *stratum.Submit) []byte {
	panic("skeleton")
}

// CoinbaseTx is the stripped coinbase with the given extranonces, for logging
// and checks.
func (j *Job) CoinbaseTx(p Profile, payout, extranonce1, extranonce2 []byte) []byte {
	panic("skeleton")
}
