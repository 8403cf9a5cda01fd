package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// A list is made once for all who ask meanwhile, and kept for ten times as long as it took;
// anew after an error.
func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, made, took := newKept[int](), 0, 3*time.Second
		var wrong error
		get := func() string {
			list, err := k.get(t.Context(), func(context.Context) ([]int, error) {
				time.Sleep(took)
				made++
				return []int{made}, wrong
			})
			return fmt.Sprint(list, err)
		}
		answers := make(chan string)
		for range 100 {
			go func() { answers <- get() }()
		}
		for range 100 {
			if got := <-answers; got != "[1] <nil>" {
				t.Errorf("%s", got)
			}
		}
		time.Sleep(29 * time.Second)
		if got := get(); got != "[1] <nil>" {
			t.Errorf("%s, made early", got)
		}
		time.Sleep(2 * time.Second)
		if got := get(); got != "[2] <nil>" {
			t.Errorf("%s, kept too long", got)
		}
		time.Sleep(time.Minute)
		wrong = errors.New("away")
		if got := get(); got != "[] away" {
			t.Errorf("%s", got)
		}
		wrong, took = nil, time.Hour
		if got := get(); got != "[4] <nil>" {
			t.Errorf("%s after an error", got)
		}
		time.Sleep(keptMost + time.Second)
		if got := get(); got != "[5] <nil>" {
			t.Errorf("%s, kept for longer than the most", got)
		}
		time.Sleep(keptMost + time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go get()
		synctest.Wait()
		if _, err := k.get(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who waits is not let go: %v", err)
		}
		time.Sleep(2 * time.Hour) // until that one has its own
	})
}
