"""The lease messages, as Ray's side names them: they live in `stream.events.lease`, where both sides meet."""

from stream.events.lease import Piece, Place, Progress, Proposal, Task, Work

__all__ = ["Piece", "Place", "Progress", "Proposal", "Task", "Work"]
