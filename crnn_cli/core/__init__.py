"""The core: the model, its codec, its losses and its decoders. It uses no files and no clock."""
