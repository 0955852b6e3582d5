package main

import (
	"bufio"
	"fmt"
	"io"
	"unicode"
)

// A foldRun maps first, first+step, … last to to, to+step, ….
type foldRun struct{ first, last, step, to rune }

// writeTables writes shared/src/module/unicode_tables.rs from the tables compiled into this program.
func writeTables(out io.Writer) error {
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, "//! Written by `go run . tables` in tests/oracle from Go's package unicode. Do not edit.\n\n")
	fmt.Fprintf(w, "pub(super) const VERSION: &str = %q;\n\n", unicode.Version)
	fmt.Fprintf(w, "/// (first, last) of each range of letters.\n")
	ranges := letterRanges()
	fmt.Fprintf(w, "pub(super) const LETTERS: [(u32, u32); %d] = [", len(ranges))
	for i, r := range ranges {
		separate(w, i, 5)
		fmt.Fprintf(w, "(%s, %s),", hex(r[0]), hex(r[1]))
	}
	fmt.Fprintf(w, "\n];\n\n/// (first, last, step, target of first) of each run of characters that fold to another.\n")
	runs := foldRuns()
	fmt.Fprintf(w, "pub(super) const FOLDS: [(u32, u32, u32, u32); %d] = [", len(runs))
	for i, r := range runs {
		separate(w, i, 3)
		fmt.Fprintf(w, "(%s, %s, %d, %s),", hex(r.first), hex(r.last), r.step, hex(r.to))
	}
	fmt.Fprintf(w, "\n];\n")
	return w.Flush()
}

func separate(w io.Writer, i, perLine int) {
	if i%perLine == 0 {
		fmt.Fprint(w, "\n    ")
	} else {
		fmt.Fprint(w, " ")
	}
}

// hex writes a literal that clippy calls readable.
func hex(r rune) string {
	if r > 0xffff {
		return fmt.Sprintf("0x%x_%04x", r>>16, r&0xffff)
	}
	return fmt.Sprintf("0x%04x", r)
}

func letterRanges() (ranges [][2]rune) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !unicode.IsLetter(r) {
			continue
		}
		if n := len(ranges); n > 0 && ranges[n-1][1] == r-1 {
			ranges[n-1][1] = r
		} else {
			ranges = append(ranges, [2]rune{r, r})
		}
	}
	return ranges
}

func foldRuns() (runs []foldRun) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		to := foldOf(r)
		if to == r {
			continue
		}
		if n := len(runs); n > 0 {
			last := &runs[n-1]
			step := r - last.last
			sameShift := to-r == last.to-last.first
			if sameShift && step <= 2 && (last.first == last.last || step == last.step) {
				last.last, last.step = r, step
				continue
			}
		}
		runs = append(runs, foldRun{r, r, 1, to})
	}
	return runs
}

// foldOf is the smallest rune of r's orbit under simple folding, with ASCII letters in lower case.
func foldOf(r rune) rune {
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	if 'A' <= least && least <= 'Z' {
		least += 'a' - 'A'
	}
	return least
}
