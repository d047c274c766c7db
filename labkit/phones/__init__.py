"""Softphones: what a notebook holds (Phone, Call), the process behind each, and the engine inside that process."""
