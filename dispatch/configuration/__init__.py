"""What operators configure, as one document (exported, compared with the registry, imported), not what workers say of
themselves or read (``contract``).
"""
