package event_test

import (
	"fmt"

	"github.com/ckpool/ckpool/event"
)

// lost is a value that a part of a program tells with a text.
type lost struct{ Node string }

// A program prints what is worth knowing, and acts on one thing that happens.
func Example() {
	tell := event.Func(func(e event.Event) {
		if e.Level <= event.Notice {
			fmt.Println(e.Text)
		}
		if l, ok := e.What.(lost); ok {
			fmt.Println("page somebody about", l.Node)
		}
	})

	// A part of the program, which is given the Func, or none.
	tell.Say(event.Debug, "asking 10.0.0.2:8332")
	tell.Tell(event.Event{Level: event.Warning, Text: "10.0.0.2:8332 does not answer", What: lost{"10.0.0.2:8332"}})
	event.Func(nil).Say(event.Error, "nobody hears this")
	// Output:
	// 10.0.0.2:8332 does not answer
	// page somebody about 10.0.0.2:8332
}
