"""The whole configuration as one document: written for version control, compared with the registry, applied."""
