"""The core: the model, its codec, its losses and its decoders. It knows no files and no clock."""
