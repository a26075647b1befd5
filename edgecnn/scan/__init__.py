"""What `edgecnn.prescan` is made of: the contents of an ONNX file, known operators, how large tensors get."""
