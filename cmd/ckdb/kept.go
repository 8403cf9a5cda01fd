package main

import (
	"context"
	"time"
)

// kept is a list that takes long where there is much, such as that of all blocks. It is
// made for one who asks at a time, and kept for some times as long as it took: however many
// ask, the database is busy with it for a tenth of the time.
type kept[T any] struct {
	room  chan struct{} // capacity 1: its owner has what follows
	list  []T
	until time.Time
}

const (
	keptTimes = 10
	keptMost  = time.Minute
)

func newKept[T any]() *kept[T] { return &kept[T]{room: make(chan struct{}, 1)} }

// get is the list, which nobody changes.
func (k *kept[T]) get(ctx context.Context, make func(context.Context) ([]T, error)) ([]T, error) {
	select {
	case k.room <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-k.room }()
	begun := time.Now()
	if begun.Before(k.until) {
		return k.list, nil
	}
	list, err := make(ctx)
	if err != nil {
		k.until = time.Time{}
		return nil, err
	}
	now := time.Now()
	k.list, k.until = list, now.Add(min(keptTimes*now.Sub(begun), keptMost))
	return list, nil
}
