package handover

import (
	"testing"
	"time"
)

// What has changed since the last copy is sent again until that is quick; an
// instance that never rests is taken over after eight copies.
func TestCopies(t *testing.T) {
	const long = 30 * time.Millisecond
	for name, tt := range map[string]struct {
		took []time.Duration
		want int
	}{
		"at rest":      {[]time.Duration{0}, 2},
		"after a time": {[]time.Duration{long, long, long, 0}, 4},
		"never":        {[]time.Duration{long}, 8},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMove(t, 1)
			m.src.copying = func(n int) { <-time.After(tt.took[min(n, len(tt.took)-1)]) }
			m.run()
			contains(t, "old side", m.gaveErr, "")
			// A busy machine makes a quick one long.
			if got := m.src.copies; got < tt.want || got > 8 || !m.serving {
				t.Errorf("%d copies, want %d; new side serves: %v", got, tt.want, m.serving)
			}
		})
	}
}
