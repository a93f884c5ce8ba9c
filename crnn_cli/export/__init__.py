"""Export of trained models, which are traced, quantised, compared with torch, and written."""
