"""Models on disk: blobs and manifests, pulling from sources, facts from GGUF headers."""
