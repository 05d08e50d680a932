package main

import (
	"fmt"

	"github.com/daulet/tokenizers"
)

// Tokenizer is the Rust library behind cgo. It has no pairs: they are put together here as BERT's are.
type Tokenizer struct {
	inner *tokenizers.Tokenizer
	limit int
}

// NewTokenizer reads a tokenizer.json.
func NewTokenizer(path string, limit int) (*Tokenizer, error) {
	inner, err := tokenizers.FromFile(path)
	return &Tokenizer{inner, limit}, err
}

// Close frees the library's tokenizer.
func (tokenizer *Tokenizer) Close() {
	tokenizer.inner.Close()
}

// Encode gives the ids of a text or, with a pair, of "[CLS] text [SEP] pair [SEP]". Families with other pairs
// (RoBERTa's has two separators) fail the replay of golden.json, as they should.
func (tokenizer *Tokenizer) Encode(text string, pair *string) (Encoded, error) {
	ids, _ := tokenizer.inner.Encode(text, true)
	encoded := Encoded{}
	encoded.extend(ids, 0)
	if pair != nil {
		second, _ := tokenizer.inner.Encode(*pair, true)
		encoded.extend(second[1:], 1)
	}
	if len(encoded.IDs) > tokenizer.limit {
		return encoded, fmt.Errorf("%d tokens; the model takes %d", len(encoded.IDs), tokenizer.limit)
	}
	return encoded, nil
}

func (encoded *Encoded) extend(ids []uint32, segment int64) {
	for _, id := range ids {
		encoded.IDs = append(encoded.IDs, int64(id))
		encoded.Types = append(encoded.Types, segment)
	}
}
