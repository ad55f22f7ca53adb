"""The matrices that a model shows while it runs, beside the operators that it applies."""
