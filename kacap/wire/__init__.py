"""From frames to segments: where each field sits, and the kernels that read it."""
