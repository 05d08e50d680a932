"""TensorRT engines: the libraries, the files beside a bundle's graphs, the profiles, and running them without torch."""
