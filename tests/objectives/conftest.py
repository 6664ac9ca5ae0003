import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))  # for `import toy_agents`
sys.path.insert(0, str(Path(__file__).parent))  # for `import tables`
