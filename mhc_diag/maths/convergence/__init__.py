"""One file = one number that says of logits how well Sinkhorn's iteration does on them."""
