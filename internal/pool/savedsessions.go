package pool

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/sharelog"
)

// sessionsFile keeps, over a restart, the sessions that miners may resume.
type sessionsFile struct {
	Saved       int64          `json:"saved"`        // unix seconds
	Nonce1Bytes int            `json:"nonce1length"` // of each extranonce1
	Sessions    []savedSession `json:"sessions"`
}

// savedSession has hex digits as miners see them; Worker is a hash.
type savedSession struct {
	ID          string `json:"id"`
	Extranonce1 string `json:"enonce1"`
	Worker      string `json:"worker"`
	Until       int64  `json:"until"` // unix seconds
}

func sessionsPath(logDir string) string { return filepath.Join(logDir, "pool", "sessions.json") }

// saveSessions writes the file, a session on each line.
func saveSessions(r *session.Registry, c *config.Config, now time.Time) error {
	nonce1Bytes := c.Nonce1Length
	b := fmt.Appendf(nil, "{\"saved\": %d, \"nonce1length\": %d, \"sessions\": [", now.Unix(), nonce1Bytes)
	separator := "\n"
	r.Save(now, func(s session.Saved) {
		var e1 [8]byte
		binary.LittleEndian.PutUint64(e1[:], s.Extranonce1)
		b = append(b, separator...)
		b = fmt.Appendf(b, "{\"id\": \"%016x\", \"enonce1\": \"%x\", \"worker\": \"%016x\", \"until\": %d}",
			s.ID, e1[:nonce1Bytes], s.Worker, s.Until)
		separator = ",\n"
	})
	b = append(b, "\n]}\n"...)
	if err := sharelog.ReplaceFile(sessionsPath(c.LogDir), b, false); err != nil {
		return fmt.Errorf("sessions: %w", err)
	}
	return nil
}

// loadSessions reads the file and returns how many sessions can be resumed. A
// missing file is none.
func loadSessions(r *session.Registry, path string, nonce1Bytes int, now time.Time) (int, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var f sessionsFile
	if err := json.Unmarshal(text, &f); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	if f.Nonce1Bytes != nonce1Bytes {
		return 0, nil // other extranonces would be given out twice
	}
	list := make([]session.Saved, 0, len(f.Sessions))
	for _, s := range f.Sessions {
		saved, err := s.parse(nonce1Bytes)
		if err != nil {
			return 0, fmt.Errorf("%s: session %.20q: %w", path, s.ID, err)
		}
		list = append(list, saved)
	}
	return r.Restore(list, now), nil
}

func (s savedSession) parse(nonce1Bytes int) (session.Saved, error) {
	id, idErr := strconv.ParseUint(s.ID, 16, 64)
	worker, workerErr := strconv.ParseUint(s.Worker, 16, 64)
	e1, e1Err := hex.DecodeString(s.Extranonce1)
	if e1Err == nil && len(e1) != nonce1Bytes {
		e1Err = fmt.Errorf("enonce1 of %d bytes", len(e1))
	}
	if err := errors.Join(idErr, workerErr, e1Err); err != nil {
		return session.Saved{}, err
	}
	var b [8]byte
	copy(b[:], e1)
	return session.Saved{ID: id, Extranonce1: binary.LittleEndian.Uint64(b[:]), Worker: worker, Until: s.Until}, nil
}
