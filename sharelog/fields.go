package sharelog

import (
	"encoding/json"
	"math"

	"github.com/ckpool/ckpool/difficulty"
)

// fields reads the keys of one JSON object as loosely as the formats' history
// demands: a key that is missing or of another type reads as zero.
type fields map[string]json.RawMessage

func parseFields(data []byte) (fields, error) {
	var f fields
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, err
	}
	return f, nil
}

func (f fields) number(key string) (float64, bool) {
	var v float64
	if raw := f[key]; raw == nil || json.Unmarshal(raw, &v) != nil || !(v >= 0) {
		return 0, false
	}
	return v, true
}

// exact reads a number from its additional key, or from key in files without.
func (f fields) exact(key string) float64 {
	if v, ok := f.number(key + exactSuffix); ok {
		return v
	}
	v, _ := f.number(key)
	return v
}

func (f fields) int(key string) int64 {
	v, _ := f.number(key)
	return whole(math.Floor(v))
}

func (f fields) text(key string) string {
	var s string
	if raw := f[key]; raw == nil || json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// hashrate reads a hash rate with a suffix, or its exact value.
func (f fields) hashrate(key string) float64 {
	if v, ok := f.number(key + exactSuffix); ok {
		return v
	}
	if v, ok := f.number(key); ok {
		return v
	}
	v, err := difficulty.ParseSI(f.text(key))
	if err != nil || !(v >= 0) {
		return 0
	}
	return v
}

func (f fields) list(key string) []fields {
	var l []fields
	if raw := f[key]; raw == nil || json.Unmarshal(raw, &l) != nil {
		return nil
	}
	return l
}

const exactSuffix = "_exact"

// putExact adds the exact value of key.
func putExact(o *Object, key string, v float64) {
	o.Real(key+exactSuffix, v, 17)
}
