package users

import (
	"strings"

	"github.com/ckpool/ckpool/address"
)

// splitName cuts a worker name before the first '.' or '_'.
// UserOf is whom a worker belongs to, by the name of the worker.
func UserOf(worker string) string {
	user, _ := splitName(worker)
	return user
}

func splitName(worker string) (user, rest string) {
	if i := strings.IndexAny(worker, "._"); i >= 0 {
		return worker[:i], worker[i:]
	}
	return worker, ""
}

// canonicalName is the one form of a user's or worker's name: addresses that
// may be written in upper case are in lower case.
func canonicalName(name string) string {
	user, rest := splitName(name)
	if a, err := address.Parse(user); err == nil {
		return a.String() + rest
	}
	return name
}
