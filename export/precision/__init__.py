"""Graphs of other precisions beside the float32 one: made from the same trace, each checked like it."""
