"""How each kind of model is run: a recipe per engine, pure; the work is done by worker processes."""

from .recipe import Availability, Recipe, Room, Settings
from .registry import available, choose

__all__ = ["Availability", "Recipe", "Room", "Settings", "available", "choose"]
