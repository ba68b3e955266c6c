"""Versioned templates as YAML files; ``dln_core.templates`` reads them."""
