"""An ONNX export that somebody else made, turned into a bundle by graph surgery, without torch."""
