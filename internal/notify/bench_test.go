package notify

import (
	"fmt"
	"testing"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/config"
)

// What looking for silence costs once a minute.
func BenchmarkWorkers(b *testing.B) {
	list := make([]control.Worker, 20_000)
	now := time.Now()
	for i := range list {
		user := fmt.Sprintf("user%d", i%2000)
		list[i] = control.Worker{User: user, Worker: fmt.Sprintf("%s.%d", user, i), Started: control.At(now), LastShare: control.At(now), AcceptedShares: 1}
	}
	n := New([]config.Target{target("all", "", config.EventWorkerDown)}, Options{View: View{Workers: func(time.Time, string) []control.Worker { return list }}})
	n.began, n.state = now.Add(-time.Hour), &state{Down: map[string]time.Time{}}
	for b.Loop() {
		for i := range list {
			list[i].AcceptedShares += 20
			list[i].LastShare.Time = list[i].LastShare.Time.Add(time.Minute)
		}
		now = now.Add(time.Minute)
		n.lookAtWorkers(now, []string{""})
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(len(list)), "µs/worker")
}
