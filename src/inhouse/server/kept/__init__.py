"""What clients ask to keep, and what works on it later: responses, conversations, files, completions."""
