"""The fast path: a model as a plan of compiled steps. `session.py` is where it begins."""
