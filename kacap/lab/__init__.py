"""Makes real captures of real kernels, with known truth; imports none of the analysis."""
