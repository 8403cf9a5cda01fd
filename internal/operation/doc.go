// Package operation holds no code: its tests start, control and stop the real
// programs the way an operator does.
package operation
