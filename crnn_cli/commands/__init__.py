"""The verbs of `crnn`, each a module with a function of the same name."""
