"""`search` and `fetch` as ChatGPT wants them, on FastMCP, for `fastmcp run`."""

from bakery import RECIPES
from fastmcp import FastMCP

mcp = FastMCP("Recipes", instructions="Search the bakery's recipes, then fetch one by its id.")


@mcp.tool(annotations={"readOnlyHint": True})
def search(query: str) -> dict:
    """Find recipes that hold one of the words."""
    words = query.lower().split()
    found = [r for r in RECIPES if any(w in (r["title"] + " " + r["text"]).lower() for w in words)]
    return {"results": [{key: r[key] for key in ("id", "title", "url")} for r in found]}


@mcp.tool(annotations={"readOnlyHint": True})
def fetch(id: str) -> dict:
    """A whole recipe."""
    for recipe in RECIPES:
        if recipe["id"] == id:
            return {**recipe, "metadata": {}}
    raise ValueError(f"no recipe has the id {id}")
