"""A small bakery: what the Python sample servers serve, each through its own SDK.

`recipe` only reads. `bake` changes something and says so, so that a call that was
executed twice can be counted.
"""

import json
import sys
from pathlib import Path

RECIPES = json.loads((Path(__file__).parent / "recipes.json").read_text())


class Bakery:
    def __init__(self):
        self.shelf = 0

    def recipe(self, name: str) -> str:
        """The recipe of this name."""
        for recipe in RECIPES:
            if recipe["title"].lower() == name.lower():
                return recipe["text"]
        raise ValueError(f"no recipe is called {name}")

    def bake(self, loaves: int) -> str:
        """Bake some loaves; says how many lie on the shelf afterwards."""
        self.shelf += loaves
        return f"{self.shelf} loaves"


def port() -> int:
    """The port to listen on: the only argument."""
    return int(sys.argv[1])
