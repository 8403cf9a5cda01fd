package operation

import (
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ckpool/ckpool/internal/testkit/ckdb"
)

// database start DIR | stop | lock USER TEXT: a ckdb with the account bob, any
// password, on a socket in DIR.
func database(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "database VERB ...")
	w := worldOf(ts)
	if w.ckdb == nil {
		w.ckdb = &ckdb.Daemon{Store: ckdb.New("store")}
		w.ckdb.Store.Register("bob", "")
	}
	switch args[0] {
	case "start":
		w.ckdb.Dir = ts.MkAbs(args[1])
		ts.Check(os.MkdirAll(w.ckdb.Dir, 0o750))
		ts.Check(w.ckdb.Start())
	case "stop":
		w.ckdb.Stop()
	case "lock":
		w.ckdb.Store.Lock(args[1], args[2])
	default:
		ts.Fatalf("database %s", args[0])
	}
}
