"""French and a place for practices, for every test here."""

from answers_fixtures import french, practices

__all__ = ["french", "practices"]
