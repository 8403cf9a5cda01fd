// Package upstream takes work from other pools and has shares judged by them: one
// connection or more to each pool, as many as the miners behind need. It knows how
// pools behave, and says which sessions get work from which connection; it knows neither
// how sessions do that nor what miners are told: work leaves it as updates, shares come
// to the judges in these.
package upstream

import (
	"fmt"

	"github.com/ckpool/ckpool/source"
)

// layout is how the extranonce2 that a pool wants is divided: Pad bytes of each job's,
// the session's own, and the miner's.
type layout struct {
	Pad int
	source.Shape
}

// The two shapes that miners have, so that they can be moved between pools that give
// different sizes: small for pools that give 3 to 5 bytes.
var (
	usualShape = source.Shape{Own: 2, Extranonce2: 4}
	smallShape = source.Shape{Own: 1, Extranonce2: 2}
)

// layoutOf divides an extranonce2 of so many bytes.
func layoutOf(extranonce2Len int) (layout, error) {
	n := extranonce2Len
	l := layout{}
	switch {
	case n < 1:
		return l, fmt.Errorf("an extranonce2 of %d bytes is none: no miner can work on that", n)
	case n > source.MaxExtranonce2:
		return l, fmt.Errorf("an extranonce2 of %d bytes: at most %d are supported", n, source.MaxExtranonce2)
	case n <= 2: // one miner
		l.Shape = source.Shape{Extranonce2: n}
	case n <= 5:
		l.Shape = smallShape
	default:
		l.Shape = usualShape
	}
	l.Pad = n - l.Own - l.Extranonce2
	return l, nil
}

// capacity is how many sessions can have bytes of their own.
func capacity(s source.Shape) int { return 1 << (8 * s.Own) }
