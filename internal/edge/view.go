package edge

import (
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/operator"
)

// View is what a page and metrics show of an instance. Methods may be called from any
// goroutine.
type View struct{ e *Edge }

// View shows the instance.
func (e *Edge) View() View { return View{e} }

// Config is what is in force.
func (v View) Config() *config.Config { return v.e.config.Load() }

// Mode is what the instance is, in a word.
func (v View) Mode() string { return v.e.mode() }

// Started is when the process began.
func (v View) Started() time.Time { return v.e.began }

// Miners is how many are connected.
func (v View) Miners() int64 { return int64(v.e.server.Clients()) }

// Upstreams is list: the pools that serve the miners, in the order of the configuration.
func (v View) Upstreams() []control.Upstream { return v.e.list().Upstreams }

// Drops is drops.
func (v View) Drops() control.Counts { return operator.Drops(v.e.server) }

// Figures are what metrics are made of.
func (v View) Figures(time.Time) operator.Figures {
	return operator.Figures{
		Version: v.e.options.Version, Started: v.e.began, Connector: operator.Connector(v.e.server), Upstreams: v.Upstreams(),
	}
}
