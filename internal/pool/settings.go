package pool

import (
	"time"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/netserver"
	"github.com/ckpool/ckpool/internal/ports"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/users"
)

// unauthorisedTimeout is how long a connection may stay without authorizing.
const unauthorisedTimeout = 60 * time.Second

// Descriptors that miners must leave: without one a found block gets neither to a
// node nor to the disk. A node has a connection for each kind of call.
const (
	ownDescriptors  = 48
	nodeDescriptors = 12
)

// limits is what connections need of the configuration.
func limits(c *config.Config) netserver.Config {
	return ports.Limits(c, ownDescriptors+nodeDescriptors*len(c.Nodes))
}

// limits are those of the configuration with the descriptors there are now.
func (p *Pool) limits(c *config.Config) netserver.Config {
	set := limits(c)
	if p.logins != nil {
		set.Reserve += c.MaxUserProxies
	}
	if p.options.Descriptors != nil {
		set.Descriptors = p.options.Descriptors()
	}
	return set
}

// usersSettings is what logins and statistics need of the configuration.
func usersSettings(c *config.Config) users.Settings {
	s := users.Settings{
		Name: c.PoolTag, Password: c.Password, MaxUserAgents: c.MaxPoolUserAgents, NameExempt: c.LimitExempt,
	}
	for _, l := range c.Servers {
		s.ListenerURLs = append(s.ListenerURLs, l.URL)
	}
	return s
}

// sessionSettings is what sessions need of the configuration.
func sessionSettings(c *config.Config, o *Options) *session.Settings {
	s := &session.Settings{
		PoolName:        c.PoolTag,
		Solo:            o.Solo,
		UserAccounts:    o.UserProxy && c.MaxUserProxies > 0,
		Extranonce1Len:  c.Nonce1Length,
		Extranonce2Len:  c.Nonce2Length,
		VersionMask:     c.VersionMask,
		UserAgents:      c.UserAgents,
		DropIdle:        c.DropIdle,
		UnauthTimeout:   unauthorisedTimeout,
		DropWithoutWork: c.DropWithoutWork,
	}
	for _, l := range c.Servers {
		s.Listeners = append(s.Listeners, session.ListenerSettings{
			URL: l.URL, MinDiff: l.MinDiff, StartDiff: l.StartDiff, MaxDiff: l.MaxDiff, HighDiff: l.HighDiff,
		})
	}
	return s
}
