import sys
from pathlib import Path

# The scripted scene is imported by name in the simulator processes too.
sys.path.insert(0, str(Path(__file__).parent))
