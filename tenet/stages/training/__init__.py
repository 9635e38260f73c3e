"""Stages that start from a model and train it."""
