"""The text-input graph: a string tensor in, the head's answer out, with the tokenizer as operators of the graph."""
