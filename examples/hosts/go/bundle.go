// Command bundlehost runs a bundle of pool-export: token ids in, the graph's named outputs out.
package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"

	ort "github.com/yalue/onnxruntime_go"
)

const batchSize = 16

// Encoded is one text: its token ids, their segments, and how many leading tokens stay out of pooling.
type Encoded struct {
	IDs, Types []int64
	Unpooled   int
}

type tensorInfo struct {
	Name  string `json:"name"`
	Shape []any  `json:"shape"`
}

// perToken says whether an output has a row a token: its second axis is the sequence.
func (info tensorInfo) perToken() bool {
	return len(info.Shape) > 1 && info.Shape[1] == "sequence_length"
}

// Manifest is what this program reads of pool_export.json.
type Manifest struct {
	Format    int `json:"format"`
	Tokenizer struct {
		MaxLength int `json:"max_length"`
	} `json:"tokenizer"`
	Graphs map[string]struct {
		Files []struct {
			Path string `json:"path"`
		} `json:"files"`
		Inputs  []tensorInfo `json:"inputs"`
		Outputs []tensorInfo `json:"outputs"`
	} `json:"graphs"`
}

// Bundle is an open graph and its tokenizer.
type Bundle struct {
	Manifest  Manifest
	inputs    []string
	outputs   []tensorInfo
	session   *ort.DynamicAdvancedSession
	tokenizer *Tokenizer
}

// Open opens the float32 graph of a bundle's folder. The environment has to be initialized.
func Open(folder string) (*Bundle, error) {
	bundle := &Bundle{}
	text, err := os.ReadFile(filepath.Join(folder, "pool_export.json"))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &bundle.Manifest); err != nil {
		return nil, err
	}
	graph, found := bundle.Manifest.Graphs["fp32"]
	if bundle.Manifest.Format != 1 || !found {
		return nil, fmt.Errorf("bundle format %d; this program reads 1, and its fp32 graph", bundle.Manifest.Format)
	}
	var names []string
	for _, input := range graph.Inputs {
		bundle.inputs = append(bundle.inputs, input.Name)
	}
	for _, output := range graph.Outputs {
		names = append(names, output.Name)
	}
	bundle.outputs = graph.Outputs
	// By its path, so that onnxruntime finds external data (model.onnx_data) beside it.
	path := filepath.Join(folder, graph.Files[0].Path)
	if bundle.session, err = ort.NewDynamicAdvancedSession(path, bundle.inputs, names, nil); err != nil {
		return nil, err
	}
	bundle.tokenizer, err = NewTokenizer(filepath.Join(folder, "tokenizer.json"), bundle.Manifest.Tokenizer.MaxLength)
	return bundle, err
}

// Close frees the session and the tokenizer.
func (bundle *Bundle) Close() {
	bundle.session.Destroy()
	bundle.tokenizer.Close()
}

func (bundle *Bundle) hasInput(name string) bool {
	for _, input := range bundle.inputs {
		if input == name {
			return true
		}
	}
	return false
}

// Run answers every output of every text, flat and without padding.
func (bundle *Bundle) Run(texts []Encoded) ([]map[string][]float32, error) {
	var rows []map[string][]float32
	for start := 0; start < len(texts); start += batchSize {
		end := start + batchSize
		if end > len(texts) {
			end = len(texts)
		}
		found, err := bundle.runBatch(texts[start:end])
		if err != nil {
			return nil, err
		}
		rows = append(rows, found...)
	}
	return rows, nil
}

func (bundle *Bundle) runBatch(batch []Encoded) ([]map[string][]float32, error) {
	width := 1
	for _, text := range batch {
		if len(text.IDs) > width {
			width = len(text.IDs)
		}
	}
	var inputs []ort.Value
	defer func() {
		for _, input := range inputs {
			input.Destroy()
		}
	}()
	for _, name := range bundle.inputs {
		tensor, err := feed(name, batch, width)
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, tensor)
	}
	outputs := make([]ort.Value, len(bundle.outputs)) // nil: onnxruntime allocates
	if err := bundle.session.Run(inputs, outputs); err != nil {
		return nil, err
	}
	defer func() {
		for _, output := range outputs {
			output.Destroy()
		}
	}()
	return bundle.split(outputs, batch, width)
}

// feed makes one input; what lies behind a text stays 0, which the mask hides.
func feed(name string, batch []Encoded, width int) (*ort.Tensor[int64], error) {
	values := make([]int64, len(batch)*width)
	for row, text := range batch {
		for at := range text.IDs {
			var value int64
			switch name {
			case "input_ids":
				value = text.IDs[at]
			case "attention_mask":
				value = 1
			case "token_type_ids":
				value = text.Types[at]
			case "pooling_mask":
				if at >= text.Unpooled {
					value = 1
				}
			default:
				return nil, fmt.Errorf("the graph has an unknown input %s", name)
			}
			values[row*width+at] = value
		}
	}
	return ort.NewTensor(ort.NewShape(int64(len(batch)), int64(width)), values)
}

func (bundle *Bundle) split(outputs []ort.Value, batch []Encoded, width int) ([]map[string][]float32, error) {
	rows := make([]map[string][]float32, len(batch))
	for row := range rows {
		rows[row] = map[string][]float32{}
	}
	for index, info := range bundle.outputs {
		tensor, isFloat := outputs[index].(*ort.Tensor[float32])
		if !isFloat {
			return nil, fmt.Errorf("output %s is not float32", info.Name)
		}
		data := tensor.GetData()
		size := len(data) / len(batch)
		for row, text := range batch {
			length := size
			if info.perToken() {
				length = size / width * len(text.IDs)
			}
			// Copied: the tensor's memory goes with it.
			rows[row][info.Name] = append([]float32(nil), data[row*size:row*size+length]...)
		}
	}
	return rows, nil
}

// Shorten cuts a Matryoshka vector and scales it to length 1 again.
func Shorten(vector []float32, dimensions int) []float32 {
	sum := 0.0
	for _, value := range vector[:dimensions] {
		sum += float64(value) * float64(value)
	}
	norm := math.Max(math.Sqrt(sum), 1e-12)
	cut := make([]float32, dimensions)
	for i := range cut {
		cut[i] = float32(float64(vector[i]) / norm)
	}
	return cut
}
