"""Learning from what people decide about images: which to ask about (`asking`)."""
