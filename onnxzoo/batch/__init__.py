"""Many images: where they come from, tables of results, and runs that can be resumed."""
