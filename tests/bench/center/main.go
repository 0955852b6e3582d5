// Command center is what the bench of the center needs around it: an origin that takes its time, and clients that ask it and publish.
//
//	center origin FILE-FOR-THE-ADDRESS DELAY VERSIONS
//	center get CLIENTS              <URLs on standard input      → seconds
//	center publish CLIENTS COUNT REPOSITORY-URL TOKEN            → seconds, p50 and p99 in ms
//
// The origin has the modules bench.example/<anything> in v1.0.0. Below /all/ their list has all VERSIONS, below /0/ to /4/ every fifth.
package main

import (
	"archive/zip"
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const members = 5

func main() {
	log.SetFlags(0)
	switch {
	case len(os.Args) == 5 && os.Args[1] == "origin":
		delay, err := time.ParseDuration(os.Args[3])
		check(err)
		origin(os.Args[2], delay, number(os.Args[4]))
	case len(os.Args) == 3 && os.Args[1] == "get":
		get(number(os.Args[2]))
	case len(os.Args) == 6 && os.Args[1] == "publish":
		publish(number(os.Args[2]), number(os.Args[3]), os.Args[4], os.Args[5])
	default:
		log.Fatal("usage: center origin|get|publish …; see the source")
	}
}

func origin(announce string, delay time.Duration, versions int) {
	lists := map[string][]byte{}
	for member := -1; member < members; member++ {
		var list bytes.Buffer
		for i := 0; i < versions; i++ {
			if member < 0 || i%members == member {
				fmt.Fprintf(&list, "v1.%d.%d\n", i/100, i%100)
			}
		}
		name := "all"
		if member >= 0 {
			name = strconv.Itoa(member)
		}
		lists[name] = list.Bytes()
	}
	var zips atomic.Int64
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	check(os.WriteFile(announce, []byte("http://"+listener.Addr().String()), 0o644))
	check(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/zips" {
			fmt.Fprintln(w, zips.Load())
			return
		}
		time.Sleep(delay)
		member, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		module, artefact, found := strings.Cut(rest, "/@v/")
		switch {
		case found && artefact == "list":
			w.Write(lists[member])
		case found && artefact == "v1.0.0.info":
			fmt.Fprint(w, `{"Version":"v1.0.0","Time":"2024-01-02T03:04:05Z"}`)
		case found && artefact == "v1.0.0.mod":
			fmt.Fprintf(w, "module %s\n", module)
		case found && artefact == "v1.0.0.zip":
			zips.Add(1)
			http.NotFound(w, r)
		default:
			http.NotFound(w, r)
		}
	})))
}

func get(clients int) {
	var urls []string
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		urls = append(urls, lines.Text())
	}
	client := client(clients)
	took, _ := each(clients, len(urls), func(i int) {
		response, err := client.Get(urls[i])
		check(err)
		finish(response, http.StatusOK)
	})
	fmt.Printf("%.3f\n", took.Seconds())
}

func publish(clients, count int, repository, token string) {
	zips := make([][]byte, count)
	for i := range zips {
		zips[i] = moduleZip(i)
	}
	client := client(clients)
	took, each := each(clients, count, func(i int) {
		url := fmt.Sprintf("%s/bench.example/published%d/@v/v1.0.0.zip", repository, i)
		request, err := http.NewRequest(http.MethodPut, url, bytes.NewReader(zips[i]))
		check(err)
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := client.Do(request)
		check(err)
		finish(response, http.StatusCreated)
	})
	sort.Slice(each, func(a, b int) bool { return each[a] < each[b] })
	at := func(share float64) float64 {
		return float64(each[int(share*float64(len(each)-1))].Microseconds()) / 1000
	}
	fmt.Printf("%.3f %.1f %.1f\n", took.Seconds(), at(0.5), at(0.99))
}

// moduleZip is a module of a few files and about 100 KB that do not compress well.
func moduleZip(number int) []byte {
	module := fmt.Sprintf("bench.example/published%d", number)
	var buffer bytes.Buffer
	archive := zip.NewWriter(&buffer)
	add := func(name string, content []byte) {
		file, err := archive.Create(module + "@v1.0.0/" + name)
		check(err)
		_, err = file.Write(content)
		check(err)
	}
	add("go.mod", []byte("module "+module+"\n"))
	state := uint64(number)*2654435761 + 1
	for i := 0; i < 4; i++ {
		content := make([]byte, 25_000)
		for at := range content {
			state = state*6364136223846793005 + 1442695040888963407
			content[at] = byte(state >> 56)
		}
		add(fmt.Sprintf("data%d.bin", i), content)
	}
	check(archive.Close())
	return buffer.Bytes()
}

// each does count things with some clients at a time; how long it took in all, and each of them.
func each(clients, count int, do func(int)) (time.Duration, []time.Duration) {
	took := make([]time.Duration, count)
	var next atomic.Int64
	var group sync.WaitGroup
	began := time.Now()
	for range make([]struct{}, clients) {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := int(next.Add(1)) - 1; i < count; i = int(next.Add(1)) - 1 {
				started := time.Now()
				do(i)
				took[i] = time.Since(started)
			}
		}()
	}
	group.Wait()
	return time.Since(began), took
}

func client(clients int) *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients, MaxConnsPerHost: clients}}
}

func finish(response *http.Response, wanted int) {
	body, err := io.ReadAll(response.Body)
	check(err)
	check(response.Body.Close())
	if response.StatusCode != wanted {
		log.Fatalf("%s: %s: %s", response.Request.URL, response.Status, body)
	}
}

func number(text string) int {
	number, err := strconv.Atoi(text)
	check(err)
	return number
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
