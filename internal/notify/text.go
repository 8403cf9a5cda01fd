package notify

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Strangers' texts stand between these two, of the private use area, which clean takes out
// of everything else.
const (
	markOpen  = '\ue000'
	markClose = '\ue001'
)

// Bounds of messages, in letters. They fit every service: Discord takes 2000, of which
// escapes may be half, Slack 3000 and Telegram 4096 in all.
const (
	maxName   = 100
	maxReason = 400 // of what is wrong, as a sentence
	maxTitle  = 150
	maxText   = 1500
)

// clean is a text of at most n letters in one line: without what could steer a terminal,
// turn the direction of writing, or hide, and without addresses that programs would make
// links of.
func clean(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r == markOpen || r == markClose || !shows(r) {
			return '.'
		}
		return r
	}, strings.ToValidUTF8(s, "."))
	return cut(strings.ReplaceAll(s, "://", "[:]//"), n)
}

// shows tells that a rune is seen and is what it seems.
func shows(r rune) bool {
	return r == ' ' || unicode.IsGraphic(r) && !unicode.Is(unicode.Zs, r) && !unicode.Is(unicode.Co, r)
}

// cut is at most n letters of s.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return string(r[:n-1]) + "…"
}

// mark is a stranger's text for a message.
func mark(s string) string { return string(markOpen) + clean(s, maxName) + string(markClose) }

// whole is a message, with its marks, of lines that are bounded and harmless whatever a
// template has made of it.
func whole(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == markOpen || r == markClose || shows(r):
			return r
		case r == '\t':
			return ' '
		}
		return '.'
	}, strings.ToValidUTF8(s, "."))
	return cut(strings.TrimSpace(s), n)
}

// encode writes a message for a service: ours are the program's and the operator's own
// words, theirs what strangers have chosen.
func encode(s string, ours, theirs func(string) string) string {
	var b strings.Builder
	for s != "" {
		text, rest, found := strings.Cut(s, string(markOpen))
		b.WriteString(ours(strings.ReplaceAll(text, string(markClose), "")))
		if !found {
			break
		}
		text, s, _ = strings.Cut(rest, string(markClose))
		if text = strings.ReplaceAll(text, string(markOpen), ""); text != "" {
			b.WriteString(theirs(text))
		}
	}
	return b.String()
}

func same(s string) string { return s }

// plain is for services without markup.
func plain(s string) string { return encode(s, same, same) }

var htmlEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;")

// telegramHTML shows strangers' texts as code, in which Telegram finds no mention, command
// or link.
func telegramHTML(s string) string {
	return encode(s, htmlEscaper.Replace, func(s string) string { return "<code>" + htmlEscaper.Replace(s) + "</code>" })
}

var slackEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// slackText is without what Slack makes mentions and links of.
func slackText(s string) string { return slackEscaper.Replace(plain(s)) }

// discordText shows strangers' texts as code, and no markup at all.
func discordText(s string) string {
	return encode(s, func(s string) string {
		var b strings.Builder
		for _, r := range s {
			if strings.ContainsRune("\\*_~`|<>@#[]()", r) {
				b.WriteByte('\\')
			}
			b.WriteRune(r)
		}
		return b.String()
	}, func(s string) string { return "`" + strings.ReplaceAll(s, "`", "'") + "`" })
}

// fit is what encode makes of as much of s as has at most n letters then.
func fit(s string, n int, encode func(string) string) string {
	out := encode(s)
	for size := utf8.RuneCountInString(out); size > n; size = utf8.RuneCountInString(out) {
		letters := utf8.RuneCountInString(s)
		s = cut(s, max(1, min(letters-1, letters*n/size)))
		out = encode(s)
	}
	return out
}
