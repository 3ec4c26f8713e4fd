"""The only modules that read captures from outside: files, pipes, interfaces; all yield frame batches."""
