"""Painted looks: pure functions (RGB uint8 H x W x 3, canvas) -> the same shape; a third of a second a megapixel."""
