"""The words every room speaks. Standard library only; imports nothing of ours outside core."""
