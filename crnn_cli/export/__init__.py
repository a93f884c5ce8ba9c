"""Model files for other programs: traced, proven and written; ONNX of fewer bits."""
