package testkit

import (
	"testing"

	"github.com/ckpool/ckpool/internal/testkit/fakenode"
)

// FakeNode is the fake bitcoind, see package fakenode.
type FakeNode = fakenode.Node

// The credentials of a node of StartFakeNode.
const (
	FakeNodeUser     = "user"
	FakeNodePassword = "pass"
)

// StartFakeNode runs a fake bitcoind that ends with the test, with the
// credentials above unless c names others.
func StartFakeNode(t testing.TB, c fakenode.Config) *FakeNode {
	t.Helper()
	if c.User == "" {
		c.User, c.Password = FakeNodeUser, FakeNodePassword
	}
	n, err := fakenode.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}
