// Package nearest finds the known word that a wrong one was probably meant to be.
package nearest

import "strings"

// Word is the one of known, in lower case, that is nearest to word, or "" if none
// is near. Of those equally near it is the first of the alphabet.
func Word(word string, known []string) string {
	best, distance := "", len(word)/3+2
	for _, k := range known {
		d := editDistance(strings.ToLower(word), k)
		if d < distance || d == distance && best != "" && k < best {
			best, distance = k, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours that lead from a to b.
func editDistance(a, b string) int {
	if len(a) > 64 {
		a = a[:64]
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(last[j]+1, row[j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
