import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path += map(str, (HERE, HERE.parent / "sources" / "probe", HERE.parent / "watch"))  # their models
