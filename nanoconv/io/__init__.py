"""Files: checkpoints, and how a file is written so that it is never half there."""
