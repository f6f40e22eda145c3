"""A model on loopback for real agents to talk to: it says what a test has it say, and keeps what it was told."""

from tests.helpers.model.server import Model
from tests.helpers.model.turns import Call, Fail, Hang, Say, Slow, Turn

__all__ = ["Call", "Fail", "Hang", "Model", "Say", "Slow", "Turn"]
