"""Watches for training loops of frameworks: each file imports its framework, and nothing imports it."""
