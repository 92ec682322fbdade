"""Twins of the published apps, for tests: all that they promise, and one operation that costs nothing.

A twin's promises are the published file's own, so what is seen of a twin is what the app's users get. Its operation
takes and makes one class of things each; that of a RAM-only app's twin runs in memory, as all of theirs do.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from stream.policies.compiler import APPS
from stream.policies.lines import Lines
from stream.vault import resident

POLICIES = Path(__file__).parent / "policies"


class Twin(msgspec.Struct, frozen=True):
    """Of an app: what goes in, and what comes out."""

    app: str
    takes: str
    makes: str

    @property
    def name(self) -> str:
        """Its key as an app."""
        return f"twin-{self.app}-{self.takes}-{self.makes}".replace("_", "-")


TWINS = (
    Twin("genzo", "upload_image", "result_image"),
    Twin("genzo", "face_image", "result_video"),
    Twin("talentedi", "upload_image", "result_image"),
    Twin("talentedi", "upload_video", "result_video"),
    Twin("talentedi", "voice_audio", "mask_result"),
    Twin("perfect-me", "face_image", "result_image"),
    Twin("perfect-me", "upload_image", "result_video"),
    Twin("perfect-me", "upload_video", "result_image"),
)

RAM_ONLY = (
    Twin("batchpix", "upload_image", "result_image"),
    Twin("background-removal-ai", "upload_image", "result_image"),
)


def swaps() -> bool:
    """Whether RAM-only apps are refused on this machine."""
    return bool(resident.swappable())


def text(twin: Twin) -> str:
    """The published file with another name, and the one operation."""
    source = (APPS / f"{twin.app}.toml").read_text()
    lines, at = source.splitlines(keepends=True), Lines(source)
    gone: set[int] = set()
    index = 0
    while (extent := at.extent("operation", index)) != (0, 0):
        gone.update(range(extent[0], extent[1] + 1))
        index += 1
    kept = "".join(line for n, line in enumerate(lines, start=1) if n not in gone)
    source_word = next(line.split('"')[1] for line in lines if line.startswith("source = "))
    operation = (
        f'\n[[operation]]\nname = "noop"\noutputs = ["{twin.makes}"]\nclause = "{source_word} §1"\n'
        f'inputs = [{{ role = "photo", accepts = ["image"], class = "{twin.takes}" }}]\n'
        + ('runs = "memory"\n' if twin in RAM_ONLY else "")
    )
    return kept.replace(f'app = "{twin.app}"', f'app = "{twin.name}"', 1) + operation


def write(folder: Path) -> Path:
    """A folder with the test app and all twins, for MAYFLY_POLICIES_EXTRA."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in POLICIES.glob("*.toml"):
        shutil.copy(path, folder)
    for twin in (*TWINS, *RAM_ONLY):
        (folder / f"{twin.name}.toml").write_text(text(twin))
    return folder
