package work

import "strings"

// Bytes of a coinbase without witness that kinds of miners take.
const (
	limitESP32    = 255 // their lines of 4,000 bytes are then kept to as well
	limitNiceHash = 500
	limitUnknown  = 750 // Antminer S19 and older, and miners that are not known
	limitS21      = 2250
	limitLarge    = 6500
	limitHuge     = 16000
)

// userAgents are beginnings of user agents, in lower case.
var userAgents = []struct {
	prefix string
	limit  int
}{
	// Miners that run on the microcontroller alone read into small buffers.
	{"nerdminer", limitESP32},
	{"sparkminer", limitESP32},
	{"bitsyminer", limitESP32},
	{"nmminer", limitESP32},
	{"leafminer", limitESP32},
	{"han_solominer", limitESP32},
	{"esp32", limitESP32},
	{"nicehash", limitNiceHash},
	{"antminer s21", limitS21},
	{"bosminer", limitS21},
	{"whatsminer", limitLarge},
	{"bitaxe", limitLarge},
	{"xminer", limitHuge},
	{"powerplay", limitHuge},
}

// CoinbaseLimit is how many bytes a coinbase without witness may have for the
// miner with a user agent, as mining.subscribe tells it.
func CoinbaseLimit(userAgent string) int {
	for _, known := range userAgents {
		n := len(known.prefix)
		if len(userAgent) >= n && strings.EqualFold(userAgent[:n], known.prefix) {
			return known.limit
		}
	}
	return limitUnknown
}
