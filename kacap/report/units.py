"""The words for numbers live in ``kacap.units``."""

from kacap.units import between, clean, counted, duration, moment, rounded

__all__ = ["between", "clean", "counted", "duration", "moment", "rounded"]
