"""The release desk: what a State says to others, by whose decision, under which law (I1).

`Policy` decides, `ReleaseDesk` keeps drafts and lets persons decide, `RegistryIntake` takes what registries hand in.
Nothing else in the node hands alerts to a log.
"""

from node.release.desk import ReleaseDesk
from node.release.errors import PolicyFileError, ReleaseError
from node.release.policy import Policy
from node.release.rows import forget_content, waiting_drafts

__all__ = ["Policy", "PolicyFileError", "ReleaseDesk", "ReleaseError", "forget_content", "waiting_drafts"]
