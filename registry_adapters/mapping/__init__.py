"""From rows to drafts and watch records, as a mapping file says: the file, its checks, and what is done to values."""
