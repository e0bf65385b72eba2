"""Inside: what a trained adapter did to weights, layers and answers."""
