"""The leaderboard: a static site of everybody's records, with rankings, figures, and a page per method and task."""
