package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
)

type golden struct {
	Format    int `json:"format"`
	Tolerance struct {
		MaxAbs    *float64 `json:"max_abs"`
		MinCosine float64  `json:"min_cosine"`
	} `json:"tolerance"`
	Cases  []goldenCase      `json:"cases"`
	Images []json.RawMessage `json:"images"`
}

type goldenCase struct {
	Text        string         `json:"text"`
	Pair        *string        `json:"pair"`
	IDs         []int64        `json:"input_ids"`
	Types       []int64        `json:"token_type_ids"`
	PoolingMask []int64        `json:"pooling_mask"`
	Truncated   bool           `json:"truncated"`
	Outputs     map[string]any `json:"outputs"`
}

// Report is the outcome of a replay.
type Report struct {
	Cases, Uncut int
	Gap, Cosine  float64
	Failures     []string
}

// Replay holds this host's token ids and outputs to golden.json.
func Replay(bundle *Bundle, path string) (*Report, error) {
	var file golden
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	if file.Format != 1 || len(file.Cases) == 0 {
		return nil, errors.New("golden.json is not of format 1, or has no case")
	}
	maxAbs := math.Inf(1)
	if file.Tolerance.MaxAbs != nil {
		maxAbs = *file.Tolerance.MaxAbs
	}
	report := &Report{Cosine: 1}
	for _, stated := range file.Cases {
		if err := report.replay(bundle, stated, maxAbs, file.Tolerance.MinCosine); err != nil {
			return nil, err
		}
	}
	return report, nil
}

func (report *Report) fail(format string, values ...any) {
	report.Failures = append(report.Failures, fmt.Sprintf("case %d: "+format, append([]any{report.Cases}, values...)...))
}

func (report *Report) replay(bundle *Bundle, stated goldenCase, maxAbs, minCosine float64) error {
	defer func() { report.Cases++ }()
	if stated.Truncated { // this program refuses over-long text; its outputs are compared all the same
		report.Uncut++
	} else if found, err := bundle.tokenizer.Encode(stated.Text, stated.Pair); err != nil {
		report.fail("%v", err)
	} else {
		if !reflect.DeepEqual(found.IDs, stated.IDs) {
			report.fail("token ids differ: %v", found.IDs)
		}
		// Segment ids count only where the graph reads them.
		if bundle.hasInput("token_type_ids") && !reflect.DeepEqual(found.Types, stated.Types) {
			report.fail("segment ids differ: %v", found.Types)
		}
	}
	given := Encoded{IDs: stated.IDs, Types: stated.Types}
	for _, value := range stated.PoolingMask {
		if value == 0 {
			given.Unpooled++
		}
	}
	rows, err := bundle.Run([]Encoded{given})
	if err != nil {
		return err
	}
	for name, want := range stated.Outputs {
		gap, cosine := compare(dense(want), rows[0][name])
		report.Gap, report.Cosine = math.Max(report.Gap, gap), math.Min(report.Cosine, cosine)
		if !(gap <= maxAbs) || !(cosine >= minCosine) {
			report.fail("%s differs by %.2e (cosine %.6f)", name, gap, cosine)
		}
	}
	return nil
}

// compare gives the largest difference, relative above magnitude 1, and the cosine; one number has no direction.
func compare(want []float64, got []float32) (gap, cosine float64) {
	if len(want) != len(got) {
		return math.Inf(1), -1
	}
	var dot, left, right float64
	for i, value := range want {
		other := float64(got[i])
		difference := math.Abs(value-other) / math.Max(1, math.Abs(value))
		if math.IsNaN(difference) {
			return math.Inf(1), -1
		}
		gap = math.Max(gap, difference)
		dot, left, right = dot+value*other, left+value*value, right+other*other
	}
	if len(want) == 1 || left*right == 0 {
		return gap, 1
	}
	return gap, dot / math.Sqrt(left*right)
}

// dense reads an output as the file states it: nested lists, or the non-zero entries of a long vector.
func dense(stated any) []float64 {
	switch value := stated.(type) {
	case float64:
		return []float64{value}
	case []any:
		var flat []float64
		for _, item := range value {
			flat = append(flat, dense(item)...)
		}
		return flat
	case map[string]any:
		vector := make([]float64, int(value["size"].(float64)))
		values := dense(value["values"])
		for i, index := range dense(value["indices"]) {
			vector[int(index)] = values[i]
		}
		return vector
	}
	return nil
}
