"""Export of trained models: traced, quantised, proved to agree with torch, and written."""
