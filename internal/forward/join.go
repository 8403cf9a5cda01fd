package forward

import (
	"github.com/ckpool/ckpool/internal/store"
)

// follows reports whether a batch goes on where another ends, so that they are one.
func (m *message) follows(before *message) bool {
	return m.network == before.network && m.batch.From == before.batch.To && m.batch.To.Epoch == before.batch.To.Epoch
}

// join makes one batch of several, each of which follows the one before it and has
// passed its Check.
func join(row []message) *store.Batch {
	first, last := &row[0].batch, &row[len(row)-1].batch
	all := &store.Batch{Instance: first.Instance, From: first.From, To: last.To, At: last.At}
	shares := 0
	for i := range row {
		shares += len(row[i].batch.Shares)
	}
	all.Shares = make([]store.Share, 0, shares)
	workers, agents := map[store.Worker]int32{}, map[string]int32{}
	for i := range row {
		b := &row[i].batch
		worker, agent := renumber(b.Workers, &all.Workers, workers), renumber(b.Agents, &all.Agents, agents)
		for _, v := range b.Shares {
			v.Worker, v.Agent = worker[v.Worker], agent[v.Agent]
			all.Shares = append(all.Shares, v)
		}
		for _, v := range b.Rejects {
			v.Worker, v.Agent = worker[v.Worker], agent[v.Agent]
			all.Rejects = append(all.Rejects, v)
		}
		for _, v := range b.Seen {
			v.Worker = worker[v.Worker]
			all.Seen = append(all.Seen, v)
		}
		for _, v := range b.Blocks {
			if v.Worker >= 0 {
				v.Worker = worker[v.Worker]
			}
			all.Blocks = append(all.Blocks, v)
		}
		all.Jobs = append(all.Jobs, b.Jobs...)
		all.Changes = append(all.Changes, b.Changes...)
		all.Minutes = append(all.Minutes, b.Minutes...)
		all.Gaps = append(all.Gaps, b.Gaps...)
	}
	return all
}

// renumber adds names to those of all, and tells the place there of each.
func renumber[T comparable](names []T, all *[]T, known map[T]int32) []int32 {
	places := make([]int32, len(names))
	for i, name := range names {
		place, ok := known[name]
		if !ok {
			place = int32(len(*all))
			*all = append(*all, name)
			known[name] = place
		}
		places[i] = place
	}
	return places
}
