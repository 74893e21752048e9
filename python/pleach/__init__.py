"""Neural architecture search with pleach, from Python.

Everything here asks the program ``pleach`` and reads what it leaves: a search from Python is the
same search, bit for bit, as one from the command line.

    import pleach

    run = pleach.run("examples/gevonas-cifar10-cpu.yaml", set={"seed": 1})
    run.winner["objectives"]
    run.candidates()        # a pandas.DataFrame, one row for each candidate
    run.train().network()   # a torch.nn.Module
"""

from .comparison import Comparison, compare
from .exported import Exported, load, load_onnx
from .program import PleachError, ask, components, find_program
from .run_directory import Run, run
from .training import Training

__all__ = [
    "Comparison",
    "Exported",
    "PleachError",
    "Run",
    "Training",
    "ask",
    "compare",
    "components",
    "find_program",
    "load",
    "load_onnx",
    "run",
]
