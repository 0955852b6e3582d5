// Oracle answers questions about module paths, versions and zips with golang.org/x/mod: one JSON question a line on standard
// input, one JSON answer a line on standard output, in the same order. With the argument "tables" it writes the Unicode tables
// of shared/src/module instead.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
)

// A question names an operation and its arguments.
type question struct {
	Op   string   `json:"op"`
	Args []string `json:"args"`
}

// An answer is a verdict and, where the operation has one and the verdict is good, a result.
type answer struct {
	OK     bool   `json:"ok"`
	Result string `json:"result"`
	Error  string `json:"error,omitempty"`
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("oracle: ")
	var err error
	if len(os.Args) == 2 && os.Args[1] == "tables" {
		err = writeTables(os.Stdout)
	} else {
		err = serve(os.Stdin, os.Stdout)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func serve(in io.Reader, out io.Writer) error {
	lines := bufio.NewReaderSize(in, 1<<20)
	w := bufio.NewWriterSize(out, 1<<20)
	encoder := json.NewEncoder(w)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return w.Flush()
		}
		if err != nil {
			return err
		}
		var q question
		if err := json.Unmarshal(line, &q); err != nil {
			return fmt.Errorf("question %q: %v", line, err)
		}
		if q.Op == "flush" {
			if err := w.Flush(); err != nil {
				return err
			}
			continue
		}
		op, known := operations[q.Op]
		if !known || len(q.Args) != op.args {
			return fmt.Errorf("question %q: no such operation with %d arguments", line, len(q.Args))
		}
		result, err := op.ask(q.Args)
		a := answer{OK: err == nil, Result: result}
		if err != nil {
			a.Result, a.Error = "", err.Error()
		}
		if err := encoder.Encode(a); err != nil {
			return err
		}
	}
}
