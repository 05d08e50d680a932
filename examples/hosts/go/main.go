package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	ort "github.com/yalue/onnxruntime_go"
)

const usage = `bundlehost embed    BUNDLE DIMENSIONS TEXT...   (DIMENSIONS 0: all)
bundlehost classify BUNDLE TEXT...
bundlehost score    BUNDLE QUERY DOCUMENT...
bundlehost replay   BUNDLE
ONNXRUNTIME names the shared library (libonnxruntime.so)`

func main() {
	if len(os.Args) < 3 || (len(os.Args) < 4 && os.Args[1] != "replay") {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(command, folder string, texts []string) error {
	if path := os.Getenv("ONNXRUNTIME"); path != "" {
		ort.SetSharedLibraryPath(path)
	}
	if err := ort.InitializeEnvironment(); err != nil {
		return err
	}
	defer ort.DestroyEnvironment()
	if err := ort.DisableTelemetry(); err != nil {
		return err
	}
	bundle, err := Open(folder)
	if err != nil {
		return err
	}
	defer bundle.Close()
	switch command {
	case "embed":
		dimensions, err := strconv.Atoi(texts[0])
		if err != nil {
			return err
		}
		return show(bundle, "sentence_embedding", texts[1:], nil, dimensions)
	case "classify":
		return show(bundle, "probs", texts, nil, 0)
	case "score":
		return show(bundle, "probs", texts[1:], &texts[0], 0)
	case "replay":
		return verdict(bundle, filepath.Join(folder, "golden.json"))
	}
	return fmt.Errorf("no command %s\n%s", command, usage)
}

// show prints one output of every text; with a query, of every pair.
func show(bundle *Bundle, output string, texts []string, query *string, dimensions int) error {
	var batch []Encoded
	for _, text := range texts {
		first, second := text, (*string)(nil)
		if query != nil {
			document := text
			first, second = *query, &document
		}
		encoded, err := bundle.tokenizer.Encode(first, second)
		if err != nil {
			return err
		}
		batch = append(batch, encoded)
	}
	rows, err := bundle.Run(batch)
	if err != nil {
		return err
	}
	for _, row := range rows {
		values, found := row[output]
		if !found {
			return fmt.Errorf("the graph has no output %s", output)
		}
		if dimensions > 0 && dimensions < len(values) {
			values = Shorten(values, dimensions)
		}
		line, err := json.Marshal(values)
		if err != nil {
			return err
		}
		fmt.Println(string(line))
	}
	return nil
}

func verdict(bundle *Bundle, path string) error {
	report, err := Replay(bundle, path)
	if err != nil {
		return err
	}
	for _, line := range report.Failures {
		fmt.Fprintln(os.Stderr, line)
	}
	if report.Uncut > 0 {
		fmt.Fprintf(os.Stderr, "%d over-long cases: outputs replayed, texts not cut here\n", report.Uncut)
	}
	word := "passed"
	if len(report.Failures) > 0 {
		word = "FAILED"
	}
	fmt.Printf("%s: %d cases, max-abs %.2e, min cosine %.7f\n", word, report.Cases, report.Gap, report.Cosine)
	if word == "FAILED" {
		return fmt.Errorf("%d differences", len(report.Failures))
	}
	return nil
}
