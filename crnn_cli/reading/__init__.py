"""The read road: inputs, preparation, recognition, results, evaluation."""
