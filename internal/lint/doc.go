// Package lint holds no code: its tests keep the rules of ARCHITECTURE.md, read
// from the source of the whole module, and try the scripts that check it.
package lint
