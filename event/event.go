// Package event is how the parts of a program tell what an operator wants to
// know: a line of text with a level, and what happened as a value, for who acts
// on it instead of reading. It knows neither where lines go nor what happens.
package event

// Level is how severe an event is: syslog's severities (RFC 5424, 6.2.1), of
// which the lower number is the more severe.
type Level int

const (
	Emergency Level = iota // the program cannot go on
	Alert                  // somebody has to act at once
	Critical               // a part has failed
	Error                  // something did not work
	Warning                // something may not work soon
	Notice                 // worth knowing, and normal
	Info                   // for who wants to follow what happens
	Debug                  // for who looks for a mistake
)

// Event is something that happened.
type Event struct {
	Level Level  // how severe it is
	Text  string // one line, for people
	// Headline tells that the text is to stand out among others of its level
	// where people look at it.
	Headline bool
	// What is what happened, of a type that the package which tells it has for
	// that: such as bitcoind.NodeChange. nil where there is the text alone.
	What any
}

// Func is told events, from any goroutine; it must not block. A Func that is nil
// may be told as well: nobody listens.
type Func func(Event)

// Tell tells an event.
func (f Func) Tell(e Event) {
	if f != nil {
		f(e)
	}
}

// Say tells a text alone.
func (f Func) Say(level Level, text string) { f.Tell(Event{Level: level, Text: text}) }
