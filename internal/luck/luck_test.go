package luck_test

import (
	"math"
	"testing"

	"github.com/ckpool/ckpool/internal/luck"
)

// The example of the reference: its figures, to eight places.
var blocks = []luck.Block{
	{Height: 470001, Difficulty: 700e9, Work: 350e9, Reward: 13.5},
	{Height: 470100, Difficulty: 700e9, Work: 100e9, Lost: true},
	{Height: 470200, Difficulty: 710e9, Work: 900e9, Reward: 14.2},
	{Height: 470400, Difficulty: 710e9, Work: 284e9, Reward: 13.9},
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if !(math.Abs(got-want) <= 5.1e-9) {
		t.Errorf("%s is %.8f, want %.8f", what, got, want)
	}
}

func TestOf(t *testing.T) {
	list := luck.Of(blocks)
	for i, want := range []luck.Figures{
		{0.5, 0.39346934, 2, 2, 350e9},
		{0.14285714, 0.13312210, 7, 0, 0},
		{1.26760563, 0.71849516, 0.78888889, 1.04797048, 1000e9},
		{0.4, 0.32967995, 2.5, 1.29957291, 284e9},
	} {
		got := list[i]
		near(t, "ratio", got.Ratio, want.Ratio)
		near(t, "chance", got.Chance, want.Chance)
		near(t, "luck", got.Luck, want.Luck)
		near(t, "history", got.History, want.History)
		near(t, "work", got.Work, want.Work)
	}
}

// Of blocks that were imported without shares, or without a difficulty, nothing is known: they
// change no figure of others.
func TestUnknown(t *testing.T) {
	list := append([]luck.Block{{Height: 400000, Difficulty: 100e9}, {Height: 400001, Difficulty: 100e9}, {Height: 400002}}, blocks...)
	want := luck.Of(blocks)
	for i, got := range luck.Of(list)[3:] {
		if got != want[i] {
			t.Errorf("block %d: %+v, want %+v", i, got, want[i])
		}
	}
	for _, n := range []int{2, 1000} {
		if got, want := luck.Last(list, n), luck.Last(blocks, n); got != want {
			t.Errorf("the last %d: %+v, want %+v", n, got, want)
		}
	}
}

// Of two blocks of one height the first has all the work that was done at it. Where it is lost
// the other is the one that the work was for.
func TestTwoOfOneHeight(t *testing.T) {
	const first, second = 1, 2
	list := []luck.Block{
		{Height: 470001, Difficulty: 100, Work: 100, Reward: 12.5},
		{Height: 470002, Difficulty: 100, Work: 50, Reward: 12.5, Lost: true},
		{Height: 470002, Difficulty: 100, Reward: 12.5},
		{Height: 470003, Difficulty: 100, Work: 150, Reward: 12.5},
	}
	of := luck.Of(list)
	near(t, "work of the first", of[first].Work, 0)
	near(t, "work of the second", of[second].Work, 50)
	near(t, "work of the next", of[3].Work, 150)
	if got := luck.Last(list, 10); got.Blocks != 3 || got.Luck != 1 {
		t.Errorf("together %+v, want three blocks with a luck of 1", got)
	}
}

// A history is of a hundred blocks and not of more.
func TestHistory(t *testing.T) {
	list := []luck.Block{{Difficulty: 1, Work: 1000}}
	for range 100 {
		list = append(list, luck.Block{Difficulty: 1, Work: 0.5})
	}
	near(t, "history", luck.Of(list)[100].History, 2)
	near(t, "history", luck.Of(list)[99].History, 100/(1000+99*0.5))
}

func TestLast(t *testing.T) {
	for _, want := range []luck.Range{
		{1, 0.4, 0.4, 0.32967995, 2.5, 1.112},
		{2, 0.90422535, 0.90422535, 0.53967279, 1.10591900, 1.124},
		{3, 0.77075472, 0.76948357, 0.40620093, 1.29957291, 1.10933333},
	} {
		got := luck.Last(blocks, want.Blocks)
		if got.Blocks != want.Blocks {
			t.Errorf("%d blocks, want %d", got.Blocks, want.Blocks)
		}
		near(t, "ratio", got.Ratio, want.Ratio)
		near(t, "mean", got.Mean, want.Mean)
		near(t, "chance", got.Chance, want.Chance)
		near(t, "luck", got.Luck, want.Luck)
		near(t, "income", got.Income, want.Income)
		if p, wanted := got.Percent(0.009), 99.1*want.Income/want.Mean; math.Abs(p-wanted) > 1e-6 {
			t.Errorf("pays %.8f %%, want %.8f %%", p, wanted)
		}
	}
	if all := luck.Last(blocks, 1000); all != luck.Last(blocks, 3) {
		t.Errorf("of more than there are: %+v", all)
	}
	if none := luck.Last(nil, 5); none != (luck.Range{}) {
		t.Errorf("of none: %+v", none)
	}
}

func TestErlang(t *testing.T) {
	for _, tt := range []struct {
		n       int
		x, want float64
	}{
		{5, 4, 0.37116306},
		{100, 105, 0.70024534},
		{1, 0, 0},
		{1, 1e-12, 1e-12},
		{3, 800, 1},
		{1000, 1, 0}, // 1/1000!
	} {
		near(t, "P", luck.Erlang(tt.n, tt.x), tt.want)
	}
	if p := luck.Erlang(1, 1e-12); math.Abs(p-1e-12) > 1e-20 {
		t.Errorf("P(1, 1e-12) is %g", p)
	}
	// Half of it is below its median, n - 1/3 + 0.02/n, for any number of blocks.
	for _, n := range []int{10, 1000, 100_000} {
		if p := luck.Erlang(n, float64(n)-1./3+0.02/float64(n)); math.Abs(p-0.5) > 1e-4 {
			t.Errorf("P of the median of %d is %g", n, p)
		}
	}
}
