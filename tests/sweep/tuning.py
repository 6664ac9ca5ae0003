"""Searches as the tests ask for them: the options of the command, and its JSON object."""

from robo_orl.sweep.search import SearchRequest, make_plan
from robo_orl.sweep.tune import tune as run_search


def plan(suite, policies=None, **changes):
    """A plan of 4 trials of 6 episodes. policies: comma-separated."""
    return make_plan(SearchRequest(suite, policies, **({"trials": 4, "episodes": 6} | changes)))


def tune(*arguments, **options):
    """The JSON object of a search."""
    return run_search(*arguments, **options).to_json()
