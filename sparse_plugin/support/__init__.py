"""What any room may use, and what knows nothing of sparsity: plugins, files, a cache, progress, the words of advice."""
