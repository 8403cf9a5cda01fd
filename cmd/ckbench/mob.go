package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/ckpool/ckpool/internal/bench/mob"
)

// runMob is hostile clients alone.
func runMob(ctx context.Context, args []string, out io.Writer) (bool, error) {
	var c mob.Config
	f := newFlagSet("mob")
	f.StringVar(&c.Address, "pool", "127.0.0.1:3333", "address of the pool, on this machine")
	f.IntVar(&c.Deaf, "deaf", 100, "clients that ask and never read")
	f.IntVar(&c.Sipping, "sipping", 100, "clients that ask and read a byte a second")
	f.IntVar(&c.Dripping, "dripping", 100, "clients that send a byte a second")
	f.IntVar(&c.Garbage, "garbage", 2, "clients that send garbage as fast as it goes")
	f.IntVar(&c.Churn, "churn", 1000, "connections a second that are opened and closed at once")
	f.DurationVar(&c.Duration, "duration", 10*time.Second, "how long, 0 for until Ctrl-C")
	f.BoolVar(&f.json, "json", false, "print one JSON object instead of a line")
	if err := f.parse(args); err != nil {
		return help(out, err)
	}
	r, err := mob.Run(ctx, c)
	if err != nil {
		return false, err
	}
	if f.json {
		return true, json.NewEncoder(out).Encode(r)
	}
	_, err = fmt.Fprintf(out, "%d requests unread, %.0f MB of garbage, %d connections thrown out, %d opened and closed, %d failures %s\n",
		r.Asked, float64(r.Garbage)/1e6, r.Thrown, r.Churned, r.Failures, r.Failure)
	return true, err
}
