// Package pool puts the parts of a pool together and gives them a life: start,
// reload, end, and the way to another process. What the parts do is theirs.
package pool
