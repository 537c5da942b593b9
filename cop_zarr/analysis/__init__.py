"""What is computed of all cells at once: principal components, similar places."""
