// Package postgres runs a PostgreSQL server of a test binary's own, where one is
// installed: on a unix socket in a temporary directory, as user postgres where the
// tests are root, which PostgreSQL refuses. Each test has a database of its own.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx
	"golang.org/x/sys/unix"
)

// ErrNotInstalled tells that this machine has no PostgreSQL server.
var ErrNotInstalled = errors.New("PostgreSQL is not installed: apt-get install postgresql")

// Server is a running server. Its methods are for one goroutine at a time.
type Server struct {
	Dir string // of its socket

	cmd    *exec.Cmd
	exited chan struct{}
	bin    string
	args   []string
}

// The server of Database, guarded by mu.
var (
	mu     sync.Mutex
	shared *Server
	failed error
	maker  *sql.DB // makes its databases
	filled bool    // it has that of Filled
	count  int
)

// Main runs the tests of a package, for its TestMain, and then ends the server
// that Database started.
func Main(m *testing.M) int {
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		if shared != nil {
			maker.Close()
			shared.Stop()
			os.RemoveAll(shared.Dir)
		}
	}()
	return m.Run()
}

// Database makes an empty database for a test, with a server that is started for
// the first one, and returns its URL. The test is skipped where PostgreSQL is not
// installed. The server does not wait for the disk, nor use one where there is memory
// for it: that is for [Start].
func Database(t testing.TB) string { return database(t, nil) }

// Filled is Database with the tables that open makes in an empty one: once for all tests of
// a package, since to copy a database takes a fraction of that.
func Filled[S io.Closer](t testing.TB, open func(ctx context.Context, url string) (S, error)) string {
	t.Helper()
	return database(t, func(url string) error {
		s, err := open(t.Context(), url)
		if err != nil {
			return err
		}
		return s.Close() // nobody may be connected to what is copied
	})
}

func database(t testing.TB, fill func(url string) error) string {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	if shared == nil && failed == nil {
		failed = share()
	}
	if errors.Is(failed, ErrNotInstalled) {
		t.Skip(failed)
	}
	if failed != nil {
		t.Fatal(failed)
	}
	const original = "filled"
	if fill != nil && !filled {
		err := create(t.Context(), original, "template1")
		if err == nil {
			err = fill(shared.URL(original))
		}
		if failed = err; err != nil {
			t.Fatal(err)
		}
		filled = true
	}
	count++
	name, from := fmt.Sprintf("test%d", count), "template1"
	if fill != nil {
		from = original
	}
	if err := create(t.Context(), name, from); err != nil {
		t.Fatal(err)
	}
	return shared.URL(name)
}

// share starts the server of Database. Its databases live for seconds: nobody has to
// vacuum them.
func share() (err error) {
	if shared, err = start(inMemory(), "fsync=off", "full_page_writes=off", "max_connections=200", "autovacuum=off", "jit=off"); err == nil {
		maker, err = sql.Open("pgx", shared.URL("postgres"))
	}
	return err
}

// create makes a copy of a database that nobody is connected to.
func create(ctx context.Context, name, from string) error {
	var release int
	err := maker.QueryRowContext(ctx, "select current_setting('server_version_num')::int").Scan(&release)
	if err != nil {
		return err
	}
	strategy := ""
	if release >= 150_000 { // before, it was the only one
		strategy = " strategy file_copy"
	}
	_, err = maker.ExecContext(ctx, "create database "+name+" template "+from+strategy)
	return err
}

// Start runs a server with data of its own and settings such as
// "shared_buffers=1GB", until Stop or the end of the process.
func Start(settings ...string) (*Server, error) { return start("", settings...) }

// inMemory is a directory for files in memory, if it has room for a server's; otherwise
// it is empty, for that of temporary files. A database is hundreds of files, which a file
// system on a disk takes longer to make than PostgreSQL.
func inMemory() string {
	const dir, least = "/dev/shm", 2 << 30
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil || s.Type != unix.TMPFS_MAGIC || s.Bavail*uint64(s.Bsize) < least || unix.Access(dir, unix.W_OK) != nil {
		return ""
	}
	return dir
}

// start is Start with the directory below which the data is; "": that of temporary files.
func start(below string, settings ...string) (*Server, error) {
	bin, err := find()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(below, "postgres")
	if err != nil {
		return nil, err
	}
	s := &Server{Dir: dir, bin: bin}
	data := filepath.Join(dir, "data")
	s.args = []string{"-D", data, "-k", dir, "-c", "listen_addresses="}
	for _, v := range settings {
		s.args = append(s.args, "-c", v)
	}
	cred, err := credential()
	if err == nil && cred != nil {
		err = os.Chown(dir, int(cred.Uid), int(cred.Gid))
	}
	if err == nil {
		c := s.command("initdb", "-D", data, "-A", "trust", "-U", "postgres", "-N", "-E", "UTF8", "--locale=C")
		if out, e := c.CombinedOutput(); e != nil {
			err = fmt.Errorf("initdb: %w: %s", e, out)
		}
	}
	if err == nil {
		err = s.Run()
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return s, nil
}

// Run starts the server again after Kill or Stop.
func (s *Server) Run() (err error) {
	// What is left of a killed server may be in the way for a moment, or longer on a busy machine.
	for range 600 {
		if err = s.run(); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

func (s *Server) run() error {
	s.cmd = s.command("postgres", s.args...)
	log, err := os.OpenFile(filepath.Join(s.Dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.exited = make(chan struct{})
	go func(c *exec.Cmd, exited chan struct{}) {
		_ = c.Wait()
		close(exited)
	}(s.cmd, s.exited)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		err := s.exec(ctx, "select 1")
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			text, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
			return fmt.Errorf("PostgreSQL has ended: %s", text)
		case <-ctx.Done():
			s.Kill()
			return fmt.Errorf("PostgreSQL does not start: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Create makes an empty database.
func (s *Server) Create(ctx context.Context, name string) error {
	return s.exec(ctx, `create database "`+name+`"`)
}

// URL of a database of the server.
func (s *Server) URL(database string) string {
	q := url.Values{"host": {s.Dir}, "user": {"postgres"}}
	return "postgres:///" + database + "?" + q.Encode()
}

// Kill ends the server as a crash does, with all its processes.
func (s *Server) Kill() {
	// Its processes end when they find it gone.
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// Stop ends the server and waits for it; connections are closed.
func (s *Server) Stop() {
	_ = s.cmd.Process.Signal(syscall.SIGINT)
	<-s.exited
}

func (s *Server) exec(ctx context.Context, query string) error {
	db, err := sql.Open("pgx", s.URL("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, query)
	return err
}

func (s *Server) command(program string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.bin, program), args...)
	c.Dir = s.Dir
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
	c.SysProcAttr.Credential, _ = credential()
	return c
}

// credential is that of user postgres, nil where the process is not root.
func credential() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

// find is the directory of the newest server's programs.
func find() (string, error) {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	sort.Slice(dirs, func(i, j int) bool { return version(dirs[i]) > version(dirs[j]) })
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			return dir, nil
		}
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	return "", ErrNotInstalled
}

func version(dir string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
	return n
}
