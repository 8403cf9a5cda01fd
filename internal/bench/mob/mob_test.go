package mob

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ckpool/ckpool/internal/testkit/otherpool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every kind does what it is for, and all are gone at the end.
func TestRun(t *testing.T) {
	p := otherpool.Start(t, otherpool.Config{})
	r, err := Run(t.Context(), Config{Address: p.Addr, Deaf: 2, Sipping: 2, Dripping: 2, Garbage: 1, Churn: 200, Duration: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if r.Asked == 0 || r.Garbage == 0 || r.Churned < 20 || r.Churned > 800 || r.Failures > 0 {
		t.Errorf("%+v", r)
	}
}

func TestRefused(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	r, err := Run(ctx, Config{Address: "127.0.0.1:1", Deaf: 1, Churn: 100})
	if err != nil || r.Failures == 0 || !strings.Contains(r.Failure, "refused") {
		t.Errorf("%v %+v", err, r)
	}
	for _, c := range []Config{
		{Address: "192.0.2.1:3333"}, {Address: "127.0.0.1"}, {Address: "127.0.0.1:1", Deaf: -1},
		{Address: "127.0.0.1:1", Sipping: 1e6}, {Address: "127.0.0.1:1", Churn: 1e6}, {Address: "127.0.0.1:nothing"},
	} {
		if r, err := Run(t.Context(), c); err == nil {
			t.Errorf("%+v: %+v", c, r)
		}
	}
}
