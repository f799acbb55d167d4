"""Clients of RegistryService that turn rows of national registries into drafts; they never import node."""
