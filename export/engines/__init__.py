"""TensorRT engines from a bundle's graphs: options, building, and the files beside the graphs."""
