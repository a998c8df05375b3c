"""A system to install the package in, and what is started there."""

from pathlib import Path

PACKAGES = Path(__file__).parents[1]
PROJECT = PACKAGES.parents[1]
