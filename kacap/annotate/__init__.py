"""A copy of a capture with comments on the frames of evidence, on request with other addresses."""
