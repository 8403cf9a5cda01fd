// Package lint holds no code: its tests keep the rules of ARCHITECTURE.md, read
// from the source of the whole module.
package lint
