"""Making sure that an exported network is the one that was measured.

A forward pass is a function of the requests that a network makes and of their answers.  So what is
read back from a file predicts the same, and is as good on dev as was recorded, if it makes the same
requests.  That costs nothing and holds whatever an endpoint answers next time, so every trial looks
at it before it tests, and tests what it has read back.  Running on dev once more would add nothing
where answers are stored, and where they are not, as with a model object of the user's, it would be
paid for and might differ by the model's own noise.  It is what ``python -m dln_core.export verify``
does, when the user wants it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dln_core.errors import ExportError
from dln_core.export.document import document_text, network_document
from dln_core.network import Network
from dln_core.types import Example, Role


def read_back(network: Network, model: str, examples: Sequence[Example]) -> Network:
    """Load a network from the text of its own export.

    Args:
        network: What is exported.
        model: Name of the model that it was trained for.
        examples: Those on which both have to make the same requests, with stand-ins for hidden
            texts.

    Raises:
        ExportError: If what is read back is another network.
    """
    # As bytes, since a text that no file can hold has none.
    text = document_text(network_document(network, model)).encode(errors="replace")
    values: dict[str, Any] = json.loads(text)
    loaded = Network.from_dict(values)
    if loaded != network:
        raise ExportError(
            f"the network {network.name} cannot be exported: read back from network.json it is "
            "another one, since a prompt holds what UTF-8 cannot"
        )
    for example in examples:
        if loaded.requests(example, role=Role.dev) != network.requests(example, role=Role.dev):
            raise ExportError(
                f"the network {network.name} cannot be exported: read back from network.json it "
                f"asks otherwise than before on the dev item {example.id}"
            )
    return loaded
