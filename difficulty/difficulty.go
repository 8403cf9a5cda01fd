// Package difficulty: targets, compact bits, share difficulty, decaying
// averages, vardiff and number formats. Pure arithmetic: no I/O, no clock.
package difficulty

// Target is a 256-bit number, big-endian.
type Target [32]byte

// TargetFromBits expands compact bits exactly as consensus does; negative,
// zero or overflowing mantissas are errors.
func TargetFromBits(bits uint32) (Target, error) { panic("skeleton") }

// TargetFromDifficulty is floor(T1/d) as in library.md 7 (limb-wise).
func TargetFromDifficulty(d float64) Target { panic("skeleton") }

// Difficulty is T1/t in doubles as in stratum.md 3.5.
func (t Target) Difficulty() float64 { panic("skeleton") }

// MetBy reports hash <= t; hash is in internal byte order (as sha256d gives it).
func (t *Target) MetBy(hash *[32]byte) bool { panic("skeleton") }

// FromBits is the network difficulty of compact bits, not raised to 1.
func FromBits(bits uint32) float64 { panic("skeleton") }

// OfHash is the difficulty a hash (internal byte order) achieves, in doubles:
// for reporting, never for judging.
func OfHash(hash *[32]byte) float64 { panic("skeleton") }

// Meets reports exactly (256 bits) whether hash (internal byte order) meets
// share difficulty d: hash <= TargetFromDifficulty(d). Takes a fast path when
// doubles already decide. Allocates nothing.
func Meets(hash *[32]byte, d float64) bool { panic("skeleton") }

// Average is one exponentially decaying average per second (stratum.md 8.1).
type Average float64

// Decay adds amount spread over seconds to the average with the given window
// in seconds.
func (a *Average) Decay(amount, seconds, window float64) { panic("skeleton") }

// Bias corrects an average that has been filled for t seconds only.
func Bias(t, window float64) float64 { panic("skeleton") }

// Round is norm(x) of stratum.md 5.3: whole when >= 1, one significant digit
// below. Decimal-exact (parses back to what is printed).
func Round(x float64) float64 { panic("skeleton") }

// AppendWire appends d as miners are sent it: an integer when >= 1 and whole,
// else a plain decimal without exponent that parses back to d.
func AppendWire(b []byte, d float64) []byte { panic("skeleton") }

// FormatSI is the suffix string of decisions.md 30 (whole below 1000, else up
// to three digits, K M G T P E Z); ParseSI reads it and the reference's forms.
func FormatSI(v float64) string         { panic("skeleton") }
func ParseSI(s string) (float64, error) { panic("skeleton") }

// HashesPerDifficulty is 2^32: hashrate = difficulty per second times this.
const HashesPerDifficulty = 1 << 32

// Limits bound what vardiff may choose. Zero Max means none.
type Limits struct {
	Min, Max float64 // exact bounds
	Floor    float64 // suggested or password floor, 0 = none
	Network  float64 // caps a session only down to max(Min, 1)
}

// Clamp applies the limits to a requested difficulty x and makes it wire-exact
// (whole when >= 1).
func (l Limits) Clamp(x float64) float64 { panic("skeleton") }

// Vardiff is one session's rate measurement and difficulty decision
// (stratum.md 5.5 V26 column with decisions.md 3, 14, 15). Times are seconds
// on any monotonic scale. No pointers; owned by the session.
type Vardiff struct {
	// fields chosen by the implementation, at most 80 bytes
}

// Decision is what Vardiff asks for.
type Decision struct {
	Difficulty float64 // 0 = no change
	Urgent     bool    // send at once instead of with the next broadcast
}

// Start begins measurement at now (connection time).
func (v *Vardiff) Start(now float64) { panic("skeleton") }

// Share records an accepted share credited with credit and judged at the
// session's present difficulty cur; it returns the change wanted.
func (v *Vardiff) Share(now, credit, cur float64, l Limits) Decision { panic("skeleton") }

// Idle applies the idle rule (decisions.md 15); call it about once a second
// or whenever convenient.
func (v *Vardiff) Idle(now, cur float64, l Limits) Decision { panic("skeleton") }

// Changed tells that the session's difficulty was changed at now for whatever
// reason and restarts the count.
func (v *Vardiff) Changed(now float64) { panic("skeleton") }
