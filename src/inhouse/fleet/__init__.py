"""Who runs, who waits, who goes."""
