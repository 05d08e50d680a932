"""The engine over HTTP: OpenAI's, vLLM's, Cohere's, Jina's and TEI's routes. Needs the `server` extra."""
