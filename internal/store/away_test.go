package store

import (
	"database/sql"
	"sync/atomic"
	"testing"

	"github.com/ckpool/ckpool/internal/testkit/postgres"
)

// A server that dies while a database is opened, or made, is one that is away: whoever
// opens it tries again. Seen: PostgreSQL was killed as its first tables were made, and ckdb
// ended.
func TestCutWhileOpening(t *testing.T) {
	direct := postgres.Database(t)
	raw, err := sql.Open("pgx", direct)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	var messages, at atomic.Int64
	where := newProxy(t, direct, func([]byte) moment {
		if messages.Add(1) == at.Load() {
			return beforeMessage + moment(at.Load()%3)
		}
		return uncut
	})
	const each, step = 10, 13 // the first ones each, then every thirteenth of some 180
	cuts := 0
	for n := int64(1); ; n++ {
		if n > each {
			n += step - 1
		}
		if _, err := raw.ExecContext(t.Context(), "drop schema public cascade; create schema public"); err != nil {
			t.Fatal(err)
		}
		messages.Store(0)
		at.Store(n)
		s, err := Open(t.Context(), where)
		if err == nil {
			s.Close()
			if messages.Load() < n {
				break // all is done before
			}
			continue // a retry of goose's own, or no more than the end was cut
		}
		cuts++
		if !Away(err) {
			t.Errorf("message %d: %v", n, err)
		}
	}
	if cuts < 15 {
		t.Errorf("%d times cut", cuts)
	}
	t.Logf("%d times cut", cuts)
}
