package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"ckpool/control"
)

// pool is the running ckpool.
type pool struct {
	*program
	ask map[string]*control.Client
}

const (
	poolName = "ckpool"
	sockets  = "sockets" // directory
)

func (d *demo) startPool(ctx context.Context) (*pool, error) {
	args := []string{"-c", configFile}
	switch {
	case d.config.Solo:
		args = append(args, "-B")
	case d.config.Farm || d.config.Links: // there is no ckdb, nor is another's asked
		args = append(args, "-A")
	}
	return d.startInstance(ctx, poolName, sockets, args...)
}

// startInstance starts ckpool under a name, with sockets in that directory.
func (d *demo) startInstance(ctx context.Context, name, sockets string, args ...string) (*pool, error) {
	run, err := d.startAs(name, "ckpool", append(args, "-s", sockets, "-n", name, "-q")...)
	if err != nil {
		return nil, err
	}
	p := &pool{run, map[string]*control.Client{}}
	for _, socket := range []string{"listener", "stratifier"} {
		p.ask[socket] = d.dial(sockets, socket)
	}
	if err := p.ready(ctx, p.ask["listener"]); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// query asks a control socket for JSON.
func (p *pool) query(ctx context.Context, command string, into any) error {
	reply, err := p.ask["stratifier"].Do(ctx, command)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(reply), into); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}
