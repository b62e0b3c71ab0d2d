"""How fast every rung of every ladder is, on the layers of real networks.

    pytest benchmarks                       all layers; prints one table and writes JSON
    pytest benchmarks --quick               a few layers of each op, within two minutes
    python -m benchmarks.report FILE.json   the same as Markdown and a bar chart
    python -m benchmarks.start              what `import nanoconv` costs beside `import numpy`
    python -m benchmarks.peers              whole networks beside other engines
    python -m benchmarks.steps_of_one       one layer in C, an idea at a time, for docs/one_op.md

The layers are in `layers.py`, what is timed in `problems.py`, how in `measure.py`.
"""
