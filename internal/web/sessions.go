package web

import (
	"sync"
	"time"
)

// sessionStore keeps sessions in memory, as scs asks for. Those that are over are forgotten
// when another begins.
type sessionStore struct {
	mu   sync.Mutex
	kept map[string]keptSession // guarded by mu; by token
}

type keptSession struct {
	data  []byte
	until time.Time
}

// Find implements scs.Store.
func (s *sessionStore) Find(token string) (data []byte, found bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, found := s.kept[token]
	if !found || time.Now().After(k.until) {
		return nil, false, nil
	}
	return k.data, true, nil
}

// Commit implements scs.Store.
func (s *sessionStore) Commit(token string, data []byte, until time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for t, k := range s.kept {
		if now.After(k.until) {
			delete(s.kept, t)
		}
	}
	s.kept[token] = keptSession{data, until}
	return nil
}

// Delete implements scs.Store.
func (s *sessionStore) Delete(token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, token)
	return nil
}

// All implements scs.IterableStore.
func (s *sessionStore) All() (map[string][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string][]byte)
	for t, k := range s.kept {
		if !time.Now().After(k.until) {
			all[t] = k.data
		}
	}
	return all, nil
}
