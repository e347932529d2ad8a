"""Calls: the pipeline of concerns that every one passes, and the transports that bring them."""
