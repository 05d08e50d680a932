"""What a pooling head is: vocabulary, configuration, resolution and torch heads."""
