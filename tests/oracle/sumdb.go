package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb"
)

// lookups asks one client of a checksum database for versions of modules, one after another: the arguments are the base URL of
// the database, its key and the versions (path@version, separated by commas). The result has the lines that the client believes
// for each, or "error: …", one version a line, its go.sum lines separated by "; ".
func lookups(args []string) (string, error) {
	name, _, ok := strings.Cut(args[1], "+")
	if !ok {
		return "", errors.New("malformed key")
	}
	ops := &memory{base: args[0], config: map[string][]byte{"key": []byte(args[1]), name + "/latest": nil}, cache: map[string][]byte{}}
	client := sumdb.NewClient(ops)
	var said []string
	for _, version := range strings.Split(args[2], ",") {
		path, version, _ := strings.Cut(version, "@")
		lines, err := client.Lookup(path, version)
		if err != nil {
			said = append(said, "error: "+strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		said = append(said, strings.Join(lines, "; "))
	}
	return strings.Join(said, "\n"), nil
}

// memory is what the client keeps, and how it reaches the database.
type memory struct {
	base   string
	mu     sync.Mutex
	config map[string][]byte
	cache  map[string][]byte
}

func (m *memory) ReadRemote(path string) ([]byte, error) {
	response, err := http.Get(m.base + path)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", response.StatusCode)
	}
	return io.ReadAll(response.Body)
}

func (m *memory) ReadConfig(file string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.config[file]
	if !ok {
		return nil, fmt.Errorf("no config %q", file)
	}
	return data, nil
}

func (m *memory) WriteConfig(file string, old, new []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if string(m.config[file]) != string(old) {
		return sumdb.ErrWriteConflict
	}
	m.config[file] = new
	return nil
}

func (m *memory) ReadCache(file string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.cache[file]
	if !ok {
		return nil, errors.New("not cached")
	}
	return data, nil
}

func (m *memory) WriteCache(file string, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cache[file] = data
}

func (m *memory) Log(string)           {}
func (m *memory) SecurityError(string) {}
