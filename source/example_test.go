package source_test

import (
	"fmt"
	"time"

	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/work"
)

// A source of one's own gives a template made by hand: here that of block 1, on the genesis
// block, without transactions.
func ExampleUpdate() {
	genesis, err := work.ParseHash("000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f")
	if err != nil {
		fmt.Println(err)
		return
	}
	template, err := work.NewTemplate(&work.Parts{
		Height: 1, Version: 1, PrevHash: genesis, Bits: 0x1d00ffff, CurTime: 1231469665, CoinbaseValue: 50_0000_0000,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	updates := make(chan source.Update, 1)
	updates <- source.Update{Template: template, NewTip: true, From: "my source", Received: time.Unix(1231469665, 0)}

	u := <-updates
	fmt.Printf("%s: block %d on %s, new tip %v, difficulty %v\n",
		u.From, u.Template.Height, work.FormatHash(u.Template.PrevHash), u.NewTip, u.Template.Target.Difficulty())
	// Output: my source: block 1 on 000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f, new tip true, difficulty 1
}
