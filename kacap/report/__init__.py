"""An analysis as text, JSON lines or a chart: one contract for all."""
