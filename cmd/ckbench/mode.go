package main

import (
	"fmt"
	"strings"
)

// soloMode reads MODE= of make run.
func soloMode(text string) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "", "pool":
		return false, nil
	case "solo":
		return true, nil
	}
	return false, fmt.Errorf("MODE=%s: want pool or solo", text)
}
