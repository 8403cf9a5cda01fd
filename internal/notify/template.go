package notify

import (
	"errors"
	"fmt"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/ckpool/ckpool/internal/figures"
)

// view is what a template has of a notice: texts, in which strangers' words are marked.
type view struct {
	Event, Time, Severity, Pool string
	Title, Text                 string // as they are without a template
	Resolved                    bool
	User, Worker                string
	Workers                     []string
	Count                       int
	Difficulty                  string
	Block                       *blockView
	Subject, Reason             string
}

type blockView struct {
	Height                                 int64
	Hash, Reward, Difficulty, Chain, State string
}

func viewOf(n *Notice) *view {
	v := &view{
		Event: n.Event, Time: n.Time.UTC().Format("2006-01-02 15:04:05 UTC"), Severity: n.Severity, Pool: mark(n.Pool), Title: n.Title, Text: n.Text,
		Resolved: n.Resolved, User: n.userWords(), Count: n.Count, Difficulty: figures.Number(n.Difficulty),
	}
	for _, k := range []struct {
		to   *string
		from string
	}{{&v.Worker, n.Worker}, {&v.Subject, n.Subject}, {&v.Reason, n.Reason}} {
		if k.from != "" {
			*k.to = mark(k.from)
		}
	}
	if n.User == "" && !n.Private {
		v.User = ""
	}
	for _, w := range n.Workers {
		v.Workers = append(v.Workers, mark(w))
	}
	if b := n.Block; b != nil {
		v.Block = &blockView{b.Height, mark(b.Hash), figures.Bitcoins(b.Reward), figures.Number(b.Difficulty), mark(b.Chain), mark(b.State)}
	}
	return v
}

// parseTemplate reads the template of a target and tries it. nil is no template.
func parseTemplate(text string) (*template.Template, error) {
	if text == "" {
		return nil, nil
	}
	t, err := template.New("").Parse(text)
	if err == nil {
		err = bounded(t)
	}
	if err == nil {
		_, err = fill(t, &Notice{Event: eventTest, Block: &Block{}, Workers: []string{""}})
	}
	if err == nil {
		_, err = fill(t, &Notice{Event: eventTest})
	}
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: :"))
	}
	return t, nil
}

// maxOutput is what a template may write, in bytes.
const maxOutput = 16 << 10

// fill is what a template makes of a notice.
func fill(t *template.Template, n *Notice) (string, error) {
	var out limited
	err := t.Execute(&out, viewOf(n))
	return out.String(), err
}

// limited refuses to grow.
type limited struct{ strings.Builder }

func (b *limited) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxOutput {
		return 0, fmt.Errorf("it writes more than %d bytes", maxOutput)
	}
	return b.Builder.Write(p)
}

// bounded refuses what may run for long: loops over anything but a field, in each other,
// and templates in templates.
func bounded(t *template.Template) error {
	if len(t.Templates()) > 1 {
		return errors.New("no template may be defined in it")
	}
	if t.Tree == nil || t.Root == nil {
		return nil
	}
	return boundedList(t.Root, false)
}

func boundedList(list *parse.ListNode, inLoop bool) (err error) {
	if list == nil {
		return nil
	}
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.TemplateNode:
			err = errors.New("no template may be used in it")
		case *parse.IfNode:
			err = errors.Join(boundedList(n.List, inLoop), boundedList(n.ElseList, inLoop))
		case *parse.WithNode:
			err = errors.Join(boundedList(n.List, inLoop), boundedList(n.ElseList, inLoop))
		case *parse.RangeNode:
			if inLoop || !overWorkers(n.Pipe) {
				return errors.New("the only loop that it may have is {{range .Workers}}")
			}
			err = errors.Join(boundedList(n.List, true), boundedList(n.ElseList, inLoop))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func overWorkers(p *parse.PipeNode) bool {
	if len(p.Cmds) != 1 || len(p.Cmds[0].Args) != 1 {
		return false
	}
	return p.Cmds[0].Args[0].String() == ".Workers" || p.Cmds[0].Args[0].String() == "$.Workers"
}
