"""From a Keras model to one proven ONNX file."""
