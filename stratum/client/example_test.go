package client_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/ckpool/ckpool/stratum/client"
)

// A miner takes a job and submits a share of it.
func Example() {
	ctx := context.Background()
	c, err := client.Dial(ctx, client.Endpoint{URL: "stratum+tcp://pool.example.org:3333", User: "bob.rig1"},
		client.Options{Dial: examplePool})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	for event := range c.Events() {
		job, ok := event.(client.Notify)
		if !ok {
			continue
		}
		fmt.Printf("job %s, extranonce1 %x, difficulty %v\n", job.JobID, job.Extranonce.Extranonce1, job.Difficulty)
		reject, err := job.Submit(ctx, client.Share{
			Extranonce2: make([]byte, job.Extranonce.Extranonce2Len),
			NTime:       job.NTime,
			Nonce:       0x9bf79,
		})
		fmt.Println(reject, err)
		return
	}
	// Output:
	// job 1f, extranonce1 7e86026b, difficulty 0.001
	// Above target (23) <nil>
}

// Of two pools the first cannot be reached, so work comes from the second.
func ExampleGroup() {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "first.example.org:3333" {
			return nil, errors.New("no route to host")
		}
		return examplePool(ctx, network, address)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	group := client.NewGroup([]client.Endpoint{
		{URL: "first.example.org:3333", User: "bob.rig1"},
		{URL: "second.example.org:3333", User: "bob.rig1"},
	}, client.Options{Dial: dial})
	go group.Run(ctx) // when it ends there are no more events

	for event := range group.Events() {
		switch e := event.(type) {
		case client.Failed:
			fmt.Printf("pool %d: %v\n", e.Endpoint, e.Err)
		case client.Active:
			fmt.Println("mining for", e.Client.Endpoint().URL)
		case client.Notify:
			fmt.Println("job", e.JobID)
			stop()
		}
	}
	// Output:
	// pool 0: no route to host
	// mining for second.example.org:3333
	// job 1f
}

// examplePool answers three requests.
func examplePool(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		in := bufio.NewScanner(far)
		for _, answer := range []string{
			`{"result":[[["mining.notify","6b02867f"]],"7e86026b",8],"error":null,"id":1}` + "\n",
			`{"result":true,"error":null,"id":2}` + "\n" +
				`{"params":[0.001],"id":null,"method":"mining.set_difficulty"}` + "\n" +
				`{"params":["1f","3c4d5e6ff8091a2bb4c5d6e7708192a33c4d5e6f000e1a2b0000000000000000","01","02",[],"20000000","1d00ffff","6b02867d",true],"id":null,"method":"mining.notify"}` + "\n",
			`{"reject-reason":"Above target","result":false,"error":[23,"Above target",null],"id":3}` + "\n",
		} {
			if !in.Scan() {
				return
			}
			far.Write([]byte(answer))
		}
		in.Scan()
	}()
	return near, nil
}
