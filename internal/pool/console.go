package pool

import (
	"fmt"
	"math"
	"time"

	"ckpool/sharelog"
)

// ConsoleLine is the status line of the console; it replaces the one before.
// Cycle counts the lines, which turns a wheel.
func ConsoleLine(now time.Time, cycle int, st *sharelog.PoolStatus) string {
	const clearLine = "\x1b[2K\r"
	line := fmt.Sprintf("%s[%s] %c %sH/s  %.1f SPS  %d users  %d workers  %.0f shares",
		clearLine, now.Format("2006-01-02 15:04:05.000"), `|/-\`[uint(cycle)%4],
		consoleSI(st.Hashrate[0]), st.SPS[0], st.Users, st.Workers, st.Accepted)
	if st.NetworkDifficulty > 0 {
		line += fmt.Sprintf("  %.1f%% diff", effort(st.Accepted, st.NetworkDifficulty))
	}
	return line
}

// consoleSI prints three significant digits in at least four columns and a
// unit, so that the line does not jump.
func consoleSI(v float64) string {
	const units = "num\x00KMGTPE"
	unit := 3
	if v > 0 {
		unit = 3 + int(math.Floor(math.Log10(v)/3))
		unit = max(0, min(unit, len(units)-1))
	}
	for unit > 0 && v < math.Pow10(3*(unit-3)) && v > 0 {
		unit-- // the logarithm was rounded up
	}
	v /= math.Pow10(3 * (unit - 3))
	decimals := 2
	if v >= 1 {
		decimals = max(0, 2-int(math.Floor(math.Log10(v))))
	}
	suffix := units[unit : unit+1]
	if unit == 3 {
		suffix = ""
	}
	return fmt.Sprintf("%4.*f%s", decimals, v, suffix)
}
