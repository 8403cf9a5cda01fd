package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/ckpool/ckpool/internal/buildinfo"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/edge"
	"github.com/ckpool/ckpool/internal/hostport"
	"github.com/ckpool/ckpool/internal/pool"
	"github.com/ckpool/ckpool/internal/relay"
	"github.com/ckpool/ckpool/poolproto"
)

// links tries the links of a passthrough, redirector or node, all at the same time.
func (k *check) links(ctx context.Context) {
	role := poolproto.Passthrough
	switch k.options.Mode {
	case config.Redirector:
		k.say("mode", "redirector", "miners are served by other pools, and sent on when they have shown that they mine")
		k.redirects()
	case config.Node:
		role = poolproto.Node
		k.say("mode", "node", "miners are served by other pools, and blocks submitted here too")
	default:
		k.say("mode", "passthrough", "miners are served by other pools, where they have their accounts")
	}
	list := edge.Uplinks(&k.config, func() string { return k.config.LinkSecret })
	dialects, errs := make([]string, len(list)), make([]error, len(list))
	var trying sync.WaitGroup
	for i := range list {
		if list[i].URL == "" {
			continue // which is told
		}
		trying.Go(func() {
			ctx, cancel := context.WithTimeoutCause(ctx, trialTime, fmt.Errorf("no answer within %v", trialTime))
			defer cancel()
			if dialects[i], errs[i] = list[i].Try(ctx, role, "ckpool/"+buildinfo.Version()); ctx.Err() != nil {
				errs[i] = context.Cause(ctx)
			}
		})
	}
	trying.Wait()
	for i, err := range errs {
		url := list[i].URL
		var refused *relay.RefusedError
		switch {
		case url == "":
		case err == nil:
			k.say("pool", url, "ok: gives a link, with "+dialects[i])
		case errors.As(err, &refused):
			k.say("pool", url, "refused")
			k.fail(fmt.Sprintf("proxy[%d]", i), "pool %s: %v", url, refused)
		case k.secured("pool", fmt.Sprintf("proxy[%d]", i), &k.config.Proxies[i], err):
		default:
			k.say("pool", url, "unreachable")
			k.unreachable(i, err)
		}
	}
}

// mainPool tries the link of a trusted remote.
func (k *check) mainPool(ctx context.Context) {
	if k.options.Mode != config.Remote || k.config.Upstream.URL == "" {
		return
	}
	u := pool.MainPool(&k.config, func() string { return k.config.LinkSecret })
	ctx, cancel := context.WithTimeoutCause(ctx, trialTime, fmt.Errorf("no answer within %v", trialTime))
	defer cancel()
	_, err := u.Try(ctx, poolproto.Remote, "ckpool/"+buildinfo.Version())
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	var refused *relay.RefusedError
	switch {
	case err == nil:
		k.say("main pool", u.URL, "ok: it takes trusted remotes")
	case errors.As(err, &refused):
		k.say("main pool", u.URL, "refused")
		k.fail("upstream", "main pool %s: %v", u.URL, refused)
	case k.secured("main pool", "upstream", &k.config.Upstream, err):
	default:
		k.say("main pool", u.URL, "unreachable")
		k.warn("upstream", "main pool %s: %v; miners are served, and what they find is kept until it is there", u.URL, err)
		k.unchecked = append(k.unchecked, "main pool "+u.URL)
	}
}

// redirects judges whether miners will follow.
func (k *check) redirects() {
	for i, url := range k.config.RedirectURLs {
		k.say("redirect", url, "from domain "+domain(url))
		if first := k.config.RedirectURLs[0]; domain(url) != domain(first) {
			k.warn(fmt.Sprintf("redirecturl[%d]", i), "%s is in another domain than %s: most firmware goes only to the domain that it was given", url, first)
		}
	}
}

// domain is what firmware compares of a host: its last two names, or the address.
func domain(url string) string {
	host, _, _, _ := hostport.Split(url)
	names := strings.Split(strings.ToLower(strings.TrimSuffix(host, ".")), ".")
	if last := names[len(names)-1]; len(names) < 2 || strings.Trim(last, "0123456789") == "" || strings.Contains(host, ":") {
		return host
	}
	return strings.Join(names[len(names)-2:], ".")
}
