package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// look HOST/BASE NAME PASSWORD PAGE: somebody logs in, and the page is printed, or what is
// said instead, where that is what is wanted.
func look(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: look host name password page")
	}
	jar, err := cookiejar.New(nil)
	ts.Check(err)
	client := &http.Client{Jar: jar, Timeout: patience}
	site := "http://" + args[0]
	form := url.Values{"name": {args[1]}, "password": {args[2]}}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, site+"/login", strings.NewReader(form.Encode()))
	ts.Check(err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "http://"+r.Host)
	if show(ts, client, r) {
		r, err = http.NewRequestWithContext(context.Background(), http.MethodGet, site+"/"+args[3], nil)
		ts.Check(err)
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

// ask HOST/BASE TOKEN ROUTE: the API's answer is printed, which is no good one where that
// is what is wanted.
func ask(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: ask host token route")
	}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+args[0]+"/api/v1/"+args[2], nil)
	ts.Check(err)
	r.Header.Set("Authorization", "Bearer "+args[1])
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
