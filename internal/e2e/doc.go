// Package e2e tests the pool as a whole: nodes on one side, miners on the
// other, and what an operator sees in logs, files and control commands. It has
// nothing but tests. They use btcd where a real node can show something, and a
// fake one for what no node on this machine does.
package e2e
