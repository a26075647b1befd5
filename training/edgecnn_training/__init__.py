"""Trains image classifiers with Keras and exports them to one ONNX file; needs the extra `train`."""
