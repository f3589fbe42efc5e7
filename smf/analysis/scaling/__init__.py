"""Scaling: what memories of several sizes retain and forget along a long stream."""
