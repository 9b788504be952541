"""Answers, questionnaire, inventory and secrets of a practice."""
