"""What every graph of a bundle has in common, traced or adopted: axes, metadata, and no notes of its maker."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

AXES = ("batch_size", "sequence_length")


def annotate(program: ir.Model, metadata: Mapping[str, str]) -> None:
    """Write ``metadata_props``, so that a host with the file alone still knows what it holds."""
    program.metadata_props.update(metadata)
    program.producer_name = "pool-export"
    program.graph.name = "pool_export"


def drop_notes(program: ir.Model) -> None:
    """Drop what the tracer noted for its developers: stack traces name this machine's folders, and weigh a lot."""
    for node in ir.traversal.RecursiveGraphIterator(program.graph):
        kept = node.metadata_props.get("namespace")  # the module path, which graph viewers group by
        node.metadata_props.clear()
        if kept is not None:
            node.metadata_props["namespace"] = kept
        node.doc_string = None
    for value in values_of(program.graph):
        value.metadata_props.clear()
        value.doc_string = None
    program.graph.metadata_props.clear()


def values_of(graph: ir.Graph) -> list[ir.Value]:
    """List a graph's inputs, initializers, and what its nodes answer, subgraphs included."""
    found = [*graph.inputs, *graph.initializers.values()]
    for node in ir.traversal.RecursiveGraphIterator(graph):
        found.extend(node.outputs)
    return found
