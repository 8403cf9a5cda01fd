package config

import (
	"fmt"
	"reflect"
	"slices"
)

// part is one key of the file in a Config.
type part struct {
	key  string
	live bool // may change while the pool runs
	in   func(*Config) any
}

// parts are all keys but serverurl, which is merged by its entries.
var parts = []part{
	{"btcd", true, func(c *Config) any { return &c.Nodes }}, // zmqblock is part of it
	{"blockpoll", false, func(c *Config) any { return &c.BlockPoll }},
	{"update_interval", true, func(c *Config) any { return &c.UpdateInterval }},

	{"solo", false, func(c *Config) any { return &c.Solo }},
	{"btcaddress", false, func(c *Config) any { return &c.BTCAddress }},
	{"btcsig", false, func(c *Config) any { return &c.BTCSig }},
	{"pooltag", false, func(c *Config) any { return &c.PoolTag }},
	{"donaddress", false, func(c *Config) any { return &c.DonAddress }},
	{"donation", false, func(c *Config) any { return &c.Donation }},
	{"version_mask", false, func(c *Config) any { return &c.VersionMask }},
	{"nonce1length", false, func(c *Config) any { return &c.Nonce1Length }},
	{"nonce2length", false, func(c *Config) any { return &c.Nonce2Length }},

	{"mindiff", true, func(c *Config) any { return &c.MinDiff }},
	{"startdiff", true, func(c *Config) any { return &c.StartDiff }},
	{"maxdiff", true, func(c *Config) any { return &c.MaxDiff }},
	{"highdiff", true, func(c *Config) any { return &c.HighDiff }},
	{"allow_low_diff", true, func(c *Config) any { return &c.AllowLowDiff }},

	{"proxy", false, func(c *Config) any { return &c.Proxies }},
	{"proxy_hold", false, func(c *Config) any { return &c.ProxyHold }},
	{"max_connections_per_proxy", false, func(c *Config) any { return &c.MaxConnectionsPerProxy }},
	{"max_user_proxies", false, func(c *Config) any { return &c.MaxUserProxies }},
	{"upstream", false, func(c *Config) any { return &c.Upstream }},
	{"redirecturl", false, func(c *Config) any { return &c.RedirectURLs }},
	{"reconnects_per_second", false, func(c *Config) any { return &c.ReconnectsPerSecond }},

	{"logdir", false, func(c *Config) any { return &c.LogDir }},
	{"loglevel", true, func(c *Config) any { return &c.LogLevel }},
	{"journal", false, func(c *Config) any { return &c.Journal }},
	{"journal_sync", false, func(c *Config) any { return &c.JournalSync }},
	{"journal_size", false, func(c *Config) any { return &c.JournalSize }},
	{"metrics", false, func(c *Config) any { return &c.Metrics }},
	{"useragent", true, func(c *Config) any { return &c.UserAgents }},
	{"max_pool_useragents", true, func(c *Config) any { return &c.MaxPoolUserAgents }},
	{"link_secret", true, func(c *Config) any { return &c.LinkSecret }},
	{"password", true, func(c *Config) any { return &c.Password }},
	{"dropidle", true, func(c *Config) any { return &c.DropIdle }},
	{"drop_without_work", true, func(c *Config) any { return &c.DropWithoutWork }},

	{"http", false, func(c *Config) any { return &c.HTTP }},
	{"http_base", false, func(c *Config) any { return &c.HTTPBase }},
	{"http_trusted_networks", true, func(c *Config) any { return &c.HTTPTrustedNetworks }},
	{"http_origins", true, func(c *Config) any { return &c.HTTPOrigins }},
	{"private_users", true, func(c *Config) any { return &c.PrivateUsers }},
	{"notify", true, func(c *Config) any { return &c.Notify }},

	{"maxclients", true, func(c *Config) any { return &c.MaxClients }},
	{"max_line", false, func(c *Config) any { return &c.MaxLine }},
	{"max_connections_per_address", true, func(c *Config) any { return &c.MaxConnectionsPerAddress }},
	{"new_connections_per_second", true, func(c *Config) any { return &c.NewConnectionsPerSecond }},
	{"new_connections_burst", true, func(c *Config) any { return &c.NewConnectionsBurst }},
	{"max_unauthorised_per_address", true, func(c *Config) any { return &c.MaxUnauthorisedPerAddress }},
	{"limit_exempt", true, func(c *Config) any { return &c.LimitExempt }},
	{"trusted_networks", true, func(c *Config) any { return &c.TrustedNetworks }},
}

// Merged is a configuration read again while the pool runs.
type Merged struct {
	Config           // in force: the new one where a key may change, else the old one
	Changed []string // keys that changed and are in force
	Restart []string // keys that changed and wait for the next start
}

// Merge takes over what may change of next. The listeners of c keep their
// places in Servers, new ones follow; one that next does not have stays open
// until the next start.
func (c *Config) Merge(next *Config) Merged {
	m := Merged{Config: *c}
	for _, p := range parts {
		have, want := reflect.ValueOf(p.in(&m.Config)).Elem(), reflect.ValueOf(p.in(next)).Elem()
		switch {
		case reflect.DeepEqual(have.Interface(), want.Interface()):
		case p.live:
			have.Set(want)
			m.Changed = append(m.Changed, p.key)
		default:
			m.Restart = append(m.Restart, p.key)
		}
	}
	m.mergeServers(next.Servers)
	return m
}

// Room is why the listeners of next cannot be opened while those stay open that it does not
// have; nil: they can.
func (m *Merged) Room() error {
	if n := len(m.Servers); n > maxServers {
		return fmt.Errorf("%d listeners, with those that stay open until the next start: at most %d can be", n, maxServers)
	}
	return nil
}

func (m *Merged) mergeServers(next []Listener) {
	changed, restart := false, false
	globally := slices.ContainsFunc([]string{"mindiff", "startdiff", "maxdiff", "highdiff"},
		func(key string) bool { return slices.Contains(m.Changed, key) })
	m.Servers = slices.Clone(m.Servers)
	for i := range m.Servers {
		l := &m.Servers[i]
		at := slices.IndexFunc(next, func(n Listener) bool { return n.URL == l.URL })
		if at < 0 {
			restart = true
			continue
		}
		n := next[at]
		l.Key = n.Key
		// What a listener is cannot change, what its miners are given can.
		n.TLSCert, n.TLSKey, n.ProxyProtocol, n.Links = l.TLSCert, l.TLSKey, l.ProxyProtocol, l.Links
		restart = restart || !reflect.DeepEqual(n, next[at])
		changed = changed || !globally && !reflect.DeepEqual(n, *l)
		*l = n
	}
	for _, n := range next {
		if !slices.ContainsFunc(m.Servers, func(l Listener) bool { return l.URL == n.URL }) {
			m.Servers = append(m.Servers, n)
			changed = true
		}
	}
	if changed {
		m.Changed = append(m.Changed, "serverurl")
	}
	if restart {
		m.Restart = append(m.Restart, "serverurl")
	}
}
