package pool

import (
	"context"
	"reflect"

	"github.com/ckpool/ckpool/internal/config"
)

// Apply puts in force what of next may change while the pool runs: settings of
// difficulty and logins, limits, nodes, further listen addresses, certificates. After an
// error nothing has changed. One Apply at a time.
func (p *Pool) Apply(ctx context.Context, next config.Config) (config.Merged, error) {
	old := p.config.Load()
	m := old.Merge(&next)
	if err := m.Room(); err != nil {
		return m, err
	}
	replaceNodes := func() {}
	if !reflect.DeepEqual(old.Nodes, m.Nodes) {
		var err error
		if replaceNodes, err = p.planNodes(m.Nodes); err != nil {
			return m, err
		}
	}
	if added := m.Servers[len(old.Servers):]; len(added) > 0 {
		// Before the ports are open, so that nobody finds no settings.
		p.settings.Store(sessionSettings(&m.Config, &p.options))
		if err := p.ports.ListenOn(ctx, added); err != nil {
			p.settings.Store(sessionSettings(old, &p.options))
			return m, err
		}
	}
	replaceNodes()
	if !reflect.DeepEqual(limits(old), limits(&m.Config)) {
		if err := p.server.SetLimits(p.limits(&m.Config)); err != nil {
			return m, err
		}
	}
	p.users.Set(usersSettings(&m.Config))
	p.settings.Store(sessionSettings(&m.Config, &p.options))
	p.config.Store(&m.Config)
	p.ports.Apply(&m.Config)
	if !reflect.DeepEqual(old.Notify, m.Notify) {
		p.notifier.Set(m.Notify)
	}
	return m, nil
}
