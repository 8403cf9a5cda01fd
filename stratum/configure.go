package stratum

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// Configure is the params of a mining.configure (BIP310).
type Configure struct {
	Extensions []string // asked for, in the miner's order
	// VersionMask is the bits that the miner wants to roll: all where it does not say, none
	// where what it says is no mask.
	VersionMask       uint32
	MinimumDifficulty float64 // the least that it wants; 0: it does not say
}

// invalidParams is the refusal of a mining.configure that asks for nothing.
var invalidParams = &Reject{Other, "Invalid params"}

// Parse reads the params of a mining.configure.
func (c *Configure) Parse(params []byte) *Reject {
	*c = Configure{VersionMask: math.MaxUint32}
	var list []json.RawMessage
	if json.Unmarshal(params, &list) != nil {
		return paramsNotArray
	}
	if len(list) == 0 || json.Unmarshal(list[0], &c.Extensions) != nil {
		return invalidParams
	}
	options := map[string]json.RawMessage{}
	if len(list) > 1 && json.Unmarshal(list[1], &options) != nil {
		return invalidParams
	}
	var text string
	if json.Unmarshal(options["version-rolling.mask"], &text) == nil {
		mask, err := strconv.ParseUint(strings.TrimPrefix(strings.ToLower(text), "0x"), 16, 32)
		if err != nil {
			mask = 0
		}
		c.VersionMask = uint32(mask)
	}
	if json.Unmarshal(options["minimum-difficulty.value"], &c.MinimumDifficulty) != nil || !(c.MinimumDifficulty > 0) {
		c.MinimumDifficulty = 0
	}
	return nil
}

// Grant is what a pool makes of an extension of mining.configure.
type Grant struct {
	Extension   string // as the miner wrote it
	Granted     bool   // whether it is in force from now on
	VersionMask uint32 // the bits that may be rolled, of version-rolling
}

// AppendConfigureResult answers a mining.configure.
func AppendConfigureResult(b, id []byte, grants []Grant) []byte {
	result := []byte{'{'}
	for _, g := range grants {
		if len(result) > 1 {
			result = append(result, ',')
		}
		if g.Extension == "version-rolling" && g.Granted {
			result = append(result, `"version-rolling.mask":"`...)
			result = append(appendHex32(result, g.VersionMask), `",`...)
		}
		result = append(AppendString(result, g.Extension), ':')
		result = strconv.AppendBool(result, g.Granted)
	}
	return AppendResult(b, id, string(append(result, '}')))
}
