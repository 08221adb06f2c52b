"""Features of videos by a local V-JEPA 2 checkpoint (Assran et al. 2025, arXiv 2506.09985) through transformers.

The encoder alone runs, without its predictor; nothing is fetched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as nnf

from specs.files import digest, read_json
from trainers.data.child import EncodeOrder, Refused, Say
from trainers.data.clip_layout import CONTACT_SHEET, clip_name
from trainers.data.clip_writer import opened
from trainers.data.contact_sheet import Row, sheet
from trainers.data.videos import Video, videos_in

SOURCE = "video.json"
"""Of one clip: which video it shows."""

_MEAN, _STD = (
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
)  # of ImageNet, where the checkpoint is silent
_SHOWN = 8


class Vjepa:
    """The encoder of a checkpoint, on a device."""

    def __init__(self, checkpoint: Path, device: torch.device) -> None:
        from transformers import VJEPA2Model

        if not (checkpoint / "config.json").is_file():
            raise Refused(
                "missing", f"{checkpoint} is no checkpoint of transformers: no config.json"
            )
        kind = json.loads((checkpoint / "config.json").read_bytes()).get("model_type")
        if kind != "vjepa2":
            raise Refused("bad", f"{checkpoint} is a checkpoint of {kind!r}, wanted: 'vjepa2'")
        try:
            model = VJEPA2Model.from_pretrained(checkpoint, local_files_only=True)
        except (OSError, ValueError) as error:
            raise Refused("bad", f"{checkpoint} cannot be loaded: {error}") from error
        self._model = model.to(device).eval()
        self._device = device
        self._mean, self._std = (
            torch.tensor(values, device=device)[:, None, None] for values in _colours(checkpoint)
        )

    @property
    def side(self) -> int:
        """Pixels of a picture."""
        return int(self._model.config.crop_size)

    @property
    def tubelet(self) -> int:
        """Pictures of an encoded frame."""
        return int(self._model.config.tubelet_size)

    @property
    def grid(self) -> tuple[int, int]:
        side = self.side // int(self._model.config.patch_size)
        return side, side

    @property
    def width(self) -> int:
        return int(self._model.config.hidden_size)

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float16]:
        """(M, H, W, 3) -> (M / tubelet x P, F)."""
        with torch.inference_mode():
            found = self._model(
                pixel_values_videos=self._ready(pictures)[None], skip_predictor=True
            )
        return np.asarray(found.last_hidden_state[0].half().cpu().numpy())

    def _ready(self, pictures: NDArray[np.uint8]) -> Tensor:
        """The middle square, scaled to the checkpoint's side and colours: (M, 3, side, side)."""
        H, W = pictures.shape[1:3]
        side = min(H, W)
        top, left = (H - side) // 2, (W - side) // 2
        square = np.ascontiguousarray(pictures[:, top : top + side, left : left + side])
        colours = torch.from_numpy(square).to(self._device).permute(0, 3, 1, 2).float() / 255
        scaled = nnf.interpolate(
            colours, (self.side, self.side), mode="bilinear", antialias=True, align_corners=False
        )
        return (scaled.clamp(0, 1) - self._mean) / self._std


def encode(order: EncodeOrder, say: Say) -> Sequence[Mapping[str, Any]]:
    """One row a task: what was encoded, and what was there. Raises Refused."""
    torch.set_num_threads(order.threads)
    tasks = videos_in(Path(order.videos))
    for video in (video for videos in tasks.values() for video in videos):
        video.actions(order.frames)  # all of them before hours of encoding
    encoder = Vjepa(Path(order.checkpoint), torch.device(order.device))
    return [_task(encoder, task, videos, order, say) for task, videos in tasks.items()]


def _task(
    encoder: Vjepa, task: str, videos: Sequence[Video], order: EncodeOrder, say: Say
) -> Mapping[str, Any]:
    made_with = {
        "maker": "vjepa2",
        "task": task,
        "checkpoint_config": digest(Path(order.checkpoint) / "config.json"),
        "grid": encoder.grid,
        "feature_width": encoder.width,
        "frames": order.frames,
    }
    shape = (order.frames * encoder.grid[0] * encoder.grid[1], encoder.width)
    with opened(Path(order.out), task, shape, made_with) as folder:
        _same_videos(Path(order.out) / task, videos)
        todo = [number for number in range(len(videos)) if not folder.has(number)]
        there = len(videos) - len(todo)
        say(task, there, len(videos))
        for done, number in enumerate(todo, start=1):
            video = videos[number]
            features = encoder(video.pictures(encoder.tubelet * order.frames))
            about = (SOURCE, {"video": video.path.name})
            folder.write(number, features, video.actions(order.frames), about)
            say(task, there + done, len(videos))
        picture = Path(order.out) / task / CONTACT_SHEET
        _portrait(task, videos[:_SHOWN], encoder, order).save(picture)
    return {
        "task": task,
        "clips": len(videos),
        "made": len(todo),
        "kept": there,
        "folder": str(Path(order.out) / task),
        "contact_sheet": str(picture),
    }


def _same_videos(folder: Path, videos: Sequence[Video]) -> None:
    """Clips are numbered by the videos' names: a new one in their midst would shift them."""
    for number, video in enumerate(videos):
        there = read_json(folder / clip_name(number) / SOURCE)
        if there is not None and there.get("video") != video.path.name:
            raise Refused(
                "exists",
                f"{folder / clip_name(number)} shows {there.get('video')}, but video {number} is {video.path.name}: "
                "videos were added or taken away; give another --out",
            )


def _portrait(task: str, videos: Sequence[Video], encoder: Vjepa, order: EncodeOrder) -> Any:
    count = encoder.tubelet * order.frames
    rows = [
        Row(
            title=f"clip {number}",
            facts=(video.path.name,),
            frames=video.pictures(count)[:: encoder.tubelet],
        )
        for number, video in enumerate(videos)
    ]
    columns = [f"frame {frame}" for frame in range(order.frames)]
    return sheet(f"Videos, task {task}", f"{len(videos)} clips", columns, rows)


def _colours(checkpoint: Path) -> tuple[Any, Any]:
    """Mean and deviation of the colours, as the checkpoint's preprocessor has them."""
    for name in ("video_preprocessor_config.json", "preprocessor_config.json"):
        if (checkpoint / name).is_file():
            said = json.loads((checkpoint / name).read_bytes())
            return said.get("image_mean", _MEAN), said.get("image_std", _STD)
    return _MEAN, _STD
