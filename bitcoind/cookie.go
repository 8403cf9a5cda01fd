package bitcoind

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// credentials gives the user and password of a node. A cookie file changes
// with each start of the node, so it is never trusted for longer than its
// modification time stays.
type credentials struct {
	// immutable
	user, pass string
	cookie     string // "" without

	mu       sync.Mutex
	modified time.Time // guarded by mu, as the rest
	size     int64
	fromFile [2]string // empty: nothing read
}

// get returns user and password; fresh reads the cookie file in any case.
func (c *credentials) get(fresh bool) (user, pass string, err error) {
	if c.cookie == "" {
		return c.user, c.pass, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.read(fresh); err != nil {
		c.fromFile = [2]string{}
		if c.user != "" {
			return c.user, c.pass, nil
		}
		return "", "", err
	}
	return c.fromFile[0], c.fromFile[1], nil
}

// unreadable is why the cookie file cannot be used; there is one configured.
func (c *credentials) unreadable() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read(true)
}

func (c *credentials) read(fresh bool) error {
	path := c.cookie
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		path = filepath.Join(path, ".cookie")
		info, err = os.Stat(path)
	}
	if err != nil {
		return &cookieError{path, err}
	}
	if !fresh && c.fromFile[0] != "" && info.ModTime().Equal(c.modified) && info.Size() == c.size {
		return nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return &cookieError{path, err}
	}
	line, _, _ := strings.Cut(string(content), "\n")
	user, pass, ok := strings.Cut(strings.TrimSpace(line), ":")
	if !ok || user == "" || pass == "" {
		return &cookieError{path, fmt.Errorf("not a cookie: its first line is not user:password")}
	}
	c.fromFile = [2]string{user, pass}
	c.modified, c.size = info.ModTime(), info.Size()
	return nil
}

// cookieError is a cookie file that cannot be used.
type cookieError struct {
	path string
	err  error
}

func (e *cookieError) Error() string {
	err := e.err
	if p, ok := errors.AsType[*os.PathError](err); ok {
		err = p.Err
	}
	return fmt.Sprintf("cookie file %s: %v", e.path, err)
}

func (e *cookieError) Unwrap() error { return e.err }
