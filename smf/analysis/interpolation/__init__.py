"""Interpolation with the start model: what a method still knows, and has forgotten, part of the way back."""
