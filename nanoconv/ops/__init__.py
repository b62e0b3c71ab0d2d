"""The lessons: one equation, or one family of elementary ops, per file."""
