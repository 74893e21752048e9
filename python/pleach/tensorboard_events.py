"""One folder of event files, by TensorBoard's own writer. The only module that needs the package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from .series import Point


class Log:
    """What TensorBoard calls a run: scalars, images and the hyperparameters of one folder."""

    def __init__(self, folder: Path, begun: float, suffix: str):
        self._writer = EventFileWriter(str(folder), max_queue_size=1000, filename_suffix=suffix)
        self._begun = begun

    def scalar(self, point: Point) -> None:
        self._add(Summary(value=[Summary.Value(tag=point.tag, simple_value=point.value)]), point.step, point.at_seconds)

    def image(self, tag: str, step: int, at_seconds: float, png: tuple[int, int, bytes]) -> None:
        width, height, data = png
        image = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=data)
        self._add(Summary(value=[Summary.Value(tag=tag, image=image)]), step, at_seconds)

    def hyperparameters(self, values: Mapping[str, bool | float | str], name: str) -> None:
        """Begins a session, named so that others with the same values stand beside it."""
        self._add(hparams_pb(dict(values), trial_id=name, start_time_secs=self._begun), 0, 0.0)

    def session_is_over(self, at_seconds: float) -> None:
        """Says that a session came to its end; TensorBoard's own function for it needs TensorFlow."""
        end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=self._begun + at_seconds)
        about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end))
        value = Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=about, tensor=metadata.NULL_TENSOR)
        self._add(Summary(value=[value]), 0, at_seconds)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _add(self, summary: Summary, step: int, at_seconds: float) -> None:
        self._writer.add_event(Event(wall_time=self._begun + at_seconds, step=step, summary=summary))
