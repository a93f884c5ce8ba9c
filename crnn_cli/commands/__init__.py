"""The verbs of `crnn`: a module each, with a function of the verb's name."""
