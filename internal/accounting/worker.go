package accounting

import (
	"strings"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/store"
)

// WorkerOf is who a user's name and the whole name of a worker stand for on a network
// (main, test, signet, regtest): an address of it, which is paid, or a user.
func WorkerOf(network, user, worker string) store.Worker {
	n, named := address.NetworkForChain(network)
	return workerOf(n, named, user, worker)
}

// ParseWorker is WorkerOf of a whole name alone, which the first point or underscore
// parts into the user's and the rest.
func ParseWorker(network, name string) store.Worker {
	user := name
	if i := strings.IndexAny(name, "._"); i >= 0 {
		user = name[:i]
	}
	return WorkerOf(network, user, name)
}

// workerOf is WorkerOf; named tells whether the network's addresses are known.
func workerOf(n address.Network, named bool, user, worker string) store.Worker {
	w := store.Worker{Kind: store.User, Account: user, Name: workerName(user, worker)}
	if a, err := address.Parse(user); err == nil && named && a.On(n) {
		w.Kind, w.Account = store.Address, a.String()
	}
	return w
}
