"""`.pt2` files of ``torch.export.save`` without torch: the JSON graph and the raw weights.

Nothing in the archive is executed: the pickled sample inputs are never opened.
"""

from __future__ import annotations

from pathlib import Path

from verify.network import Graph
from verify.readers.pt2_archive import open_program
from verify.readers.pt2_program import graph_of_program
from verify.readers.tensors import TensorBag, read_bytes, shown


def read(path: Path) -> TensorBag:
    """Read an exported program; an extra file ``verify`` is its declaration (JSON).

    Raises:
        InputError: malformed, truncated, or with operations that are not covered.
        UnsafeFileError: a state dict of an earlier version asks for code to be run.
    """
    where = shown(str(path), 200)
    content, digest = read_bytes(path)
    program = open_program(content, where)
    network = graph_of_program(program, where)
    tensors = {**program.weights, **program.constants}
    return TensorBag({"": tensors}, program.declaration, sha256=digest, network=network)


def parse(content: bytes, where: str) -> Graph:
    """Return the network of an exported program held in memory.

    Raises:
        InputError: as `read` does.
        UnsafeFileError: as `read` does.
    """
    return graph_of_program(open_program(content, where), where)
