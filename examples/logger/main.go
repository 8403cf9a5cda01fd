// Logger stands between miners and a pool, and prints what they say to each other:
//
//	logger 0.0.0.0:3333 stratum+ssl://pool.example:443
package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"sync"

	"github.com/ckpool/ckpool/stratum"
	"github.com/ckpool/ckpool/stratum/client"
	"github.com/ckpool/ckpool/work"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: logger LISTEN POOL")
	}
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", l.Addr())
	for {
		miner, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(miner, os.Args[2])
	}
}

// serve connects a miner with the pool until one of them leaves.
func serve(miner net.Conn, url string) {
	defer miner.Close()
	name := miner.RemoteAddr().String()
	pool, err := client.Endpoint{URL: url}.Connect(context.Background(), client.Options{})
	if err != nil {
		fmt.Println(name, err)
		return
	}
	var both sync.WaitGroup
	both.Go(func() { pass(pool, miner, name+" >") })
	both.Go(func() { pass(miner, pool, name+" <") })
	both.Wait()
}

// pass takes lines from one to the other.
func pass(to, from net.Conn, name string) {
	defer to.Close()
	for lines := bufio.NewReaderSize(from, 1<<20); ; {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return
		}
		fmt.Println(name, describe(bytes.TrimSpace(line)))
		if _, err := to.Write(line); err != nil {
			return
		}
	}
}

// describe is a line in words.
func describe(line []byte) string {
	var m stratum.Message
	var n stratum.Notify
	switch {
	case stratum.Scan(line, &m) != stratum.Object:
		return fmt.Sprintf("no message: %.100q", line)
	case string(m.Method) == "mining.notify" && n.Parse(m.Params) == nil:
		return fmt.Sprintf("job %s on %s, merkle branch of %d, clean %t", n.JobID, work.FormatHash(n.PrevHash), len(n.Branch), n.Clean)
	case m.MethodPresent:
		return fmt.Sprintf("%s %s", m.Method, m.Params)
	case m.HasError():
		return fmt.Sprintf("no to %s: %s", m.ID, m.Verdict())
	}
	return fmt.Sprintf("yes to %s: %s", m.ID, m.Result)
}
