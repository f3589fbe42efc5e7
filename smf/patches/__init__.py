"""Patches: what a stream learned, as a file to inspect, share, apply and revert, and to forget fact by fact."""
