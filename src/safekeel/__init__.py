"""SafeKeel: make a reasoning LLM safe without making it dumber, and prove both."""

__version__ = "0.1.0"
