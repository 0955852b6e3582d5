package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/mod/zip"
)

type operation struct {
	args int
	ask  func(args []string) (string, error)
}

var errNo = errors.New("no")

func verdict(f func(string) error) operation {
	return operation{1, func(a []string) (string, error) { return "", f(a[0]) }}
}

func result(f func(string) (string, error)) operation {
	return operation{1, func(a []string) (string, error) { return f(a[0]) }}
}

// plain is for functions whose empty result is the bad verdict.
func plain(f func(string) string) operation {
	return operation{1, func(a []string) (string, error) {
		if r := f(a[0]); r != "" {
			return r, nil
		}
		return "", errNo
	}}
}

func yes(ok bool) (string, error) {
	if ok {
		return "", nil
	}
	return "", errNo
}

var operations = map[string]operation{
	"check_path":         verdict(module.CheckPath),
	"check_import_path":  verdict(module.CheckImportPath),
	"check_file_path":    verdict(module.CheckFilePath),
	"escape_path":        result(module.EscapePath),
	"unescape_path":      result(module.UnescapePath),
	"escape_version":     result(module.EscapeVersion),
	"unescape_version":   result(module.UnescapeVersion),
	"canonical_version":  plain(module.CanonicalVersion),
	"semver_canonical":   plain(semver.Canonical),
	"semver_major":       plain(semver.Major),
	"semver_major_minor": plain(semver.MajorMinor),
	"semver_prerelease":  plain(semver.Prerelease),
	"semver_build":       plain(semver.Build),
	"pseudo_base":        result(module.PseudoVersionBase),
	"pseudo_rev":         result(module.PseudoVersionRev),
	"is_pseudo": {1, func(a []string) (string, error) {
		return yes(module.IsPseudoVersion(a[0]))
	}},
	"pseudo_time": {1, func(a []string) (string, error) {
		t, err := module.PseudoVersionTime(a[0])
		return strconv.FormatInt(t.Unix(), 10), err
	}},
	"check": {2, func(a []string) (string, error) {
		return "", module.Check(a[0], a[1])
	}},
	"check_path_major": {2, func(a []string) (string, error) {
		return "", module.CheckPathMajor(a[0], a[1])
	}},
	"match_prefix_patterns": {2, func(a []string) (string, error) {
		return yes(module.MatchPrefixPatterns(a[0], a[1]))
	}},
	"semver_compare": {2, func(a []string) (string, error) {
		// The verdict is whether the order is strict, the result is the order.
		c := semver.Compare(a[0], a[1])
		if c == 0 {
			return "", errNo
		}
		return strconv.Itoa(c), nil
	}},
	"split_path_version": {1, func(a []string) (string, error) {
		prefix, major, ok := module.SplitPathVersion(a[0])
		if !ok {
			return "", errNo
		}
		return prefix + " " + major, nil
	}},
	"module_path":  plain(func(mod string) string { return modfile.ModulePath([]byte(mod)) }),
	"directives":   {1, func(a []string) (string, error) { return directives(a[0]) }},
	"sumdb":        {3, lookups},
	"tile_path":    {1, func(a []string) (string, error) { _, err := tlog.ParseTilePath(a[0]); return "", err }},
	"unicode":      {0, func([]string) (string, error) { return describeUnicode(), nil }},
	"zip":          {3, func(a []string) (string, error) { return checkZip(a[0], a[1], a[2]) }},
	"zip_from_dir": {4, func(a []string) (string, error) { return zipFromDir(a[0], a[1], a[2], a[3]) }},
}

// directives is a line a retraction and the deprecation, as a dependency's go.mod states them.
func directives(mod string) (string, error) {
	file, err := modfile.ParseLax("go.mod", []byte(mod), nil)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, r := range file.Retract {
		fmt.Fprintf(&out, "retract %s %s\n", r.Low, r.High)
	}
	if file.Module != nil && file.Module.Deprecated != "" {
		fmt.Fprintf(&out, "deprecated %s\n", file.Module.Deprecated)
	}
	return out.String(), nil
}

// describeUnicode is the version, and for every code point whether it is a letter and what it folds to.
func describeUnicode() string {
	var out strings.Builder
	out.WriteString(unicode.Version)
	for r := rune(0); r <= unicode.MaxRune; r++ {
		letter, fold := unicode.IsLetter(r), foldOf(r)
		if letter || fold != r {
			fmt.Fprintf(&out, "\n%x %t %x", r, letter, fold)
		}
	}
	return out.String()
}

// checkZip accepts what the go command would: CheckZip, Unzip and HashZip. The result is the h1.
func checkZip(path, version, file string) (string, error) {
	m := module.Version{Path: path, Version: version}
	if _, err := zip.CheckZip(m, file); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(filepath.Dir(file), "unzip")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := zip.Unzip(filepath.Join(dir, "m"), m, file); err != nil {
		return "", err
	}
	return dirhash.HashZip(file, dirhash.Hash1)
}

// zipFromDir makes the module zip of a directory, as the go command does. The result is its h1.
func zipFromDir(path, version, dir, file string) (string, error) {
	out, err := os.Create(file)
	if err != nil {
		return "", err
	}
	if err := zip.CreateFromDir(out, module.Version{Path: path, Version: version}, dir); err != nil {
		out.Close()
		return "", err
	}
	if err := out.Close(); err != nil {
		return "", err
	}
	return dirhash.HashZip(file, dirhash.Hash1)
}
