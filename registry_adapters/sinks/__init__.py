"""Where hits and outcomes are written back: one module a kind of sink, and which of them a mapping names."""
