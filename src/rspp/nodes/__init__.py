"""The sync nodes that come with RSPP: pure classes, one a file, handed to a kernel as a table of factories.

A node type is in the table exactly when `spec.catalog` has it as a sync type of ours; nothing registers itself.
"""

from __future__ import annotations

from rspp.kernel.hosting import NodeFactory
from rspp.nodes.dtmf_collector import DigitCollector
from rspp.nodes.segmenter import Segmenter
from rspp.nodes.tee import Tee
from rspp.nodes.text_filter import TextFilter


def factories() -> dict[str, NodeFactory]:
    """Node type -> what makes one instance from its configuration; a fresh table each time."""
    return {
        "dtmf_collector": DigitCollector,
        "segmenter": Segmenter,
        "tee": Tee,
        "text_filter": TextFilter,
    }


__all__ = ["DigitCollector", "Segmenter", "Tee", "TextFilter", "factories"]
