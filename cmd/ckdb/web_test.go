package main

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ckpool/ckpool/internal/testkit/wait"
)

// look HOST/BASE NAME PASSWORD PAGE [NAME=VALUE...]: somebody logs in, and the page is
// printed, or what a form with these values is answered; or what is said instead, where that
// is what is wanted.
func look(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 4 {
		ts.Fatalf("usage: look host name password page [name=value...]")
	}
	jar, err := cookiejar.New(nil)
	ts.Check(err)
	client := &http.Client{Jar: jar, Timeout: patience}
	site := "http://" + args[0]
	form := fields([]string{"name=" + args[1], "password=" + args[2]})
	if show(ts, client, filledIn(ts, site+"/login", form)) {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, site+"/"+args[3], nil)
		ts.Check(err)
		if len(args) > 4 {
			r = filledIn(ts, r.URL.String(), fields(args[4:]))
		}
		if show(ts, client, r) {
			if neg {
				ts.Fatalf("%s sees it", args[1])
			}
			return
		}
	}
	if !neg {
		ts.Fatalf("%s does not see it", args[1])
	}
}

func fields(args []string) url.Values {
	form := url.Values{}
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		form.Add(name, value)
	}
	return form
}

// filled are arguments in which =@FILE stands for the first line of a file.
func filled(ts *testscript.TestScript, args []string) (list []string) {
	for _, arg := range args {
		if name, file, ok := strings.Cut(arg, "=@"); ok {
			line, _, _ := strings.Cut(ts.ReadFile(file), "\n")
			arg = name + "=" + line
		}
		list = append(list, arg)
	}
	return list
}

// browsers are those of scripts, with their cookies.
var browsers sync.Map

// browse HOST/BASE PAGE [NAME=VALUE...]: a page of who is logged in here, if anybody is, or
// what a form with these values is answered, is printed; =@FILE is the first line of a file.
func browse(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: browse host page [name=value...]")
	}
	jar, err := cookiejar.New(nil)
	ts.Check(err)
	kept, _ := browsers.LoadOrStore(ts, jar)
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+args[0]+"/"+args[1], nil)
	ts.Check(err)
	if len(args) > 2 {
		r = filledIn(ts, r.URL.String(), fields(filled(ts, args[2:])))
	}
	if show(ts, &http.Client{Jar: kept.(*cookiejar.Jar), Timeout: patience}, r) == neg {
		ts.Fatalf("this was not to be expected")
	}
}

// filledIn is a form as a browser sends it.
func filledIn(ts *testscript.TestScript, to string, form url.Values) *http.Request {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, to, strings.NewReader(form.Encode()))
	ts.Check(err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "http://"+r.Host)
	return r
}

// secret FILE: what a page shows to be copied goes to a file.
func secret(ts *testscript.TestScript, neg bool, args []string) {
	found := regexp.MustCompile(`<pre class="secret">([^<]*)</pre>`).FindStringSubmatch(ts.ReadFile("stdout"))
	if neg || len(args) != 1 || found == nil {
		ts.Fatalf("usage: secret file, of a page that has one")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(html.UnescapeString(found[1])+"\n"), 0o600))
}

// ask HOST/BASE TOKEN ROUTE: the API's answer is printed, which is no good one where that
// is what is wanted. @FILE has the token.
func ask(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: ask host token route")
	}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+args[0]+"/api/v1/"+args[2], nil)
	ts.Check(err)
	token := args[1]
	if file, ok := strings.CutPrefix(token, "@"); ok {
		token = strings.TrimSpace(ts.ReadFile(file))
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if show(ts, &http.Client{Timeout: patience}, r) == neg {
		ts.Fatalf("this was not to be expected")
	}
}

// show prints an answer, and tells whether it is a good one.
func show(ts *testscript.TestScript, client *http.Client, r *http.Request) bool {
	answer, err := client.Do(r)
	ts.Check(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	ts.Check(err)
	_, err = ts.Stdout().Write(text)
	ts.Check(err)
	return answer.StatusCode == http.StatusOK
}

// item KEY NAME: $NAME is that of the first item of the list that was printed.
func item(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: item key variable")
	}
	var answer struct {
		Items []map[string]any `json:"items"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &answer))
	if len(answer.Items) == 0 {
		ts.Fatalf("the list is empty")
	}
	ts.Setenv(args[1], fmt.Sprint(answer.Items[0][args[0]]))
}

// scraped HOST LINE...: until Prometheus would read these lines there.
func scraped(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: scraped host line...")
	}
	client, text := &http.Client{Timeout: patience}, []byte(nil)
	defer client.CloseIdleConnections()
	defer func() { ts.Logf("%s", regexp.MustCompile("(?m)^(go|process|#).*\n").ReplaceAll(text, nil)) }()
	wait.Until(ts, patience, strings.Join(args[1:], ", "), func() bool {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+args[0]+"/metrics", nil)
		ts.Check(err)
		answer, err := client.Do(r)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		text, err = io.ReadAll(answer.Body)
		return err == nil && !slices.ContainsFunc(args[1:], func(line string) bool { return !strings.Contains("\n"+string(text), "\n"+line+"\n") })
	})
}
