package work

import "strings"

// Profile is how large a coinbase a miner takes.
type Profile uint8

const (
	ProfileESP32    Profile = iota // 255 bytes; its lines of 4,000 are then kept to as well
	ProfileNiceHash                // 500
	ProfileS19                     // 750, also for miners that are not known
	ProfileS21                     // 2,250
	ProfileLarge                   // 6,500
	ProfileHuge                    // 16,000
	Profiles                       // their number
)

// coinbaseLimit is the size in bytes of a coinbase without witness.
var coinbaseLimit = [Profiles]int{255, 500, 750, 2250, 6500, 16000}

// userAgents are beginnings of user agents, in lower case.
var userAgents = []struct {
	prefix  string
	profile Profile
}{
	// Miners that run on the microcontroller alone read into small buffers.
	{"nerdminer", ProfileESP32},
	{"sparkminer", ProfileESP32},
	{"bitsyminer", ProfileESP32},
	{"nmminer", ProfileESP32},
	{"leafminer", ProfileESP32},
	{"han_solominer", ProfileESP32},
	{"esp32", ProfileESP32},
	{"nicehash", ProfileNiceHash},
	{"antminer s21", ProfileS21},
	{"bosminer", ProfileS21},
	{"whatsminer", ProfileLarge},
	{"bitaxe", ProfileLarge},
	{"xminer", ProfileHuge},
	{"powerplay", ProfileHuge},
}

// ProfileFor chooses by the user agent of mining.subscribe.
func ProfileFor(userAgent string) Profile {
	for _, known := range userAgents {
		n := len(known.prefix)
		if len(userAgent) >= n && strings.EqualFold(userAgent[:n], known.prefix) {
			return known.profile
		}
	}
	return ProfileS19
}
