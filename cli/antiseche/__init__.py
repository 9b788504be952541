"""Antisèche: provision, harden and prove the machines of a medical practice."""

__version__ = "0.1.0"
