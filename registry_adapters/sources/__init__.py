"""Where rows come from: one module a kind of source, and which of them a mapping names."""
