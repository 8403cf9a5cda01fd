package session

// fifo is a queue that uses its memory again.
type fifo[T any] struct {
	list  []T
	begun int // how many of list are gone
}

// fifoSlack is how many that are gone may stand before the others.
const fifoSlack = 64

func (f *fifo[T]) len() int { return len(f.list) - f.begun }

// front is the first, of at least one.
func (f *fifo[T]) front() *T { return &f.list[f.begun] }

func (f *fifo[T]) push(v T) { f.list = append(f.list, v) }

func (f *fifo[T]) pop() {
	f.begun++
	if f.begun == len(f.list) || f.begun > fifoSlack && f.begun > len(f.list)/2 {
		n := copy(f.list, f.list[f.begun:])
		clear(f.list[n:])
		f.list, f.begun = f.list[:n], 0
	}
}
