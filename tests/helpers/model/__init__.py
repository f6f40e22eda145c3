"""A model on loopback for real agents: it takes the turns that a test defines, and keeps the requests."""

from tests.helpers.model.server import Model
from tests.helpers.model.turns import Call, Fail, Hang, Say, Slow, Turn

__all__ = ["Call", "Fail", "Hang", "Model", "Say", "Slow", "Turn"]
