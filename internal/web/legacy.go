package web

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/sharelog"
)

// Routes that dashboards of ckpool in C and of other pools ask for.
func (s *Server) legacyRoutes() map[string]api {
	return map[string]api{
		"/api/client/{user}": s.publicPoolClient,
		"/api/pool":          s.publicPool,
		"/api/network":       s.publicPoolNetwork,
		"/api/info":          s.publicPoolInfo,
	}
}

// poolFile is /pool/pool.status.
func (s *Server) poolFile() (*answer, error) {
	b, err := s.options.Source.PoolFile()
	if err != nil {
		return nil, errStarting // it is written each minute
	}
	return seal(http.StatusOK, "application/json; charset=utf-8", b), nil
}

// userFile is /users/USER.
func (s *Server) userFile(name string, now time.Time) (*answer, error) {
	u, err := s.user(name, now)
	if err != nil {
		return nil, err
	}
	b, ok := s.options.Source.UserFile(u.User, now)
	if !ok {
		return nil, errNoUser
	}
	return seal(http.StatusOK, "application/json; charset=utf-8", b), nil
}

// What follows has the form of public-pool's API.

type publicWorker struct {
	SessionID      string     `json:"sessionId"`
	Name           string     `json:"name"`
	BestDifficulty string     `json:"bestDifficulty"`
	HashRate       float64    `json:"hashRate"`
	StartTime      *time.Time `json:"startTime"`
	LastSeen       *time.Time `json:"lastSeen"`
}

func (s *Server) publicPoolClient(ctx context.Context, r *http.Request, now time.Time) (any, error) {
	u, err := s.user(r.PathValue("user"), now)
	if err != nil {
		return nil, err
	}
	list, err := s.workers(ctx, u.User, now)
	if err != nil {
		return nil, err
	}
	workers := []publicWorker{}
	for i := range list {
		w := &list[i]
		if !w.Connected || len(workers) == maxPage {
			continue
		}
		name := "worker"
		if rest := w.Worker[len(users.UserOf(w.Worker)):]; len(rest) > 1 {
			name = rest[1:]
		}
		const decimals = 2
		workers = append(workers, publicWorker{"", name, strconv.FormatFloat(w.BestEver, 'f', decimals, 64), w.Hashrate.M5, w.Since, w.LastShare})
	}
	return struct {
		BestDifficulty float64        `json:"bestDifficulty"`
		WorkersCount   int            `json:"workersCount"`
		Workers        []publicWorker `json:"workers"`
	}{u.BestEver, len(workers), workers}, nil
}

// publicBlock is a block that was found.
type publicBlock struct {
	Height  int64  `json:"height"`
	Miner   string `json:"minerAddress"`
	Worker  string `json:"worker"`
	Session string `json:"sessionId"`
}

func (s *Server) publicBlocks() []publicBlock {
	blocks := []publicBlock{}
	list, _ := s.blocks()
	for _, b := range list {
		f := publicBlock{Height: b.Height}
		if b.Finder != nil {
			f.Miner, f.Worker = users.UserOf(*b.Finder), *b.Finder
		}
		blocks = append(blocks, f)
	}
	return blocks
}

func (s *Server) publicPool(ctx context.Context, _ *http.Request, now time.Time) (any, error) {
	p, err := s.keptPool(ctx, now)
	if err != nil {
		return nil, err
	}
	if p.Network.Height == nil {
		return nil, errNoWork
	}
	return struct {
		TotalHashRate float64       `json:"totalHashRate"`
		BlockHeight   int64         `json:"blockHeight"`
		TotalMiners   int64         `json:"totalMiners"`
		BlocksFound   []publicBlock `json:"blocksFound"`
		Fee           int           `json:"fee"`
	}{p.Hashrate.M5, *p.Network.Height - 1, p.Miners, s.publicBlocks(), 0}, nil
}

func (s *Server) publicPoolNetwork(ctx context.Context, _ *http.Request, now time.Time) (any, error) {
	p, err := s.keptPool(ctx, now)
	if err != nil {
		return nil, err
	}
	if p.Network.Height == nil {
		return nil, errNoWork
	}
	const blockSeconds = 600
	return struct {
		Blocks        int64   `json:"blocks"`
		Difficulty    float64 `json:"difficulty"`
		NetworkHashPS float64 `json:"networkhashps"`
		Chain         string  `json:"chain"`
	}{*p.Network.Height - 1, p.Network.Difficulty, perSecond(p.Network.Difficulty) / blockSeconds, p.Chain}, nil
}

func (s *Server) publicPoolInfo(ctx context.Context, _ *http.Request, _ time.Time) (any, error) {
	type score struct {
		Difficulty float64 `json:"bestDifficulty"`
		UserAgent  string  `json:"bestDifficultyUserAgent"`
	}
	type agent struct {
		UserAgent string  `json:"userAgent"`
		Count     int64   `json:"count"`
		Best      float64 `json:"bestDifficulty"`
		HashRate  float64 `json:"totalHashRate"`
	}
	agents := []agent{}
	if b, err := s.options.Source.PoolFile(); err == nil {
		if f, err := sharelog.ParsePoolStatus(b); err == nil { // else it is not written yet
			for _, a := range f.UserAgents {
				agents = append(agents, agent{a.Agent, a.Devices, a.BestShare, a.Hashrate5m})
			}
		}
	}
	scores := []score{}
	best, err := s.best(ctx)
	if err != nil {
		return nil, err
	}
	for _, b := range best {
		scores = append(scores, score{Difficulty: b.BestEver})
	}
	return struct {
		BlockData  []publicBlock `json:"blockData"`
		UserAgents []agent       `json:"userAgents"`
		HighScores []score       `json:"highScores"`
		Uptime     time.Time     `json:"uptime"`
	}{s.publicBlocks(), agents, scores, s.options.Source.Started().UTC()}, nil
}
