"""Learned networks as files: ``network.json``, and forms in which other programs take them."""

from dln_core.export.document import load_network, network_document
from dln_core.export.template import chat_requests, messages_template

__all__ = ["chat_requests", "load_network", "messages_template", "network_document"]
