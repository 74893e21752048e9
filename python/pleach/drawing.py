"""A network as a picture: a row for each Block, a box for each of its layers."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BOX, GAP, ROW, LEFT, MARGIN = (208, 80), 28, 128, 300, 32
INK, MUTED, GROUND, LINE = "#1b211d", "#59645c", "#ffffff", "#9aa59d"


@dataclass(frozen=True)
class Row:
    """A Block with the operation of each of its layers and what that operation means."""

    title: str
    detail: str
    layers: tuple[tuple[str, str], ...] = ()


def network_rows(network: Mapping[str, Any], genome: Sequence[int]) -> list[Row]:
    """The Blocks of a network of the space that ``network.json`` describes.

    Layers that are not born yet are left out; slots outside of all Blocks come last.
    """
    meanings = {operation["name"]: operation["meaning"] for operation in network["operations"]}
    nodes = {node["apply"]["slot"]: node for node in network["network"] if "slot" in node["apply"]}
    blocks = [(block["name"], block["slots"]) for block in network["blocks"]]
    in_blocks = {slot for _, slots in blocks for slot in slots}
    outside = [slot for slot in range(len(network["slots"])) if slot not in in_blocks]
    rows = []
    for title, slots in blocks + ([("slots", outside)] if outside else []):
        names = [network["slots"][slot]["choices"][genome[slot]] for slot in slots]
        layers = [(name, meanings.get(name, name)) for name in names]
        widths = [nodes[slot].get("channels") for slot in slots if slot in nodes]
        detail = f"{widths[-1]} channels" if widths and widths[-1] else ""
        rows.append(Row(title, detail, tuple(layer for layer in layers if layer[1] != "absent")))
    return rows


def draw_network(network: Mapping[str, Any], genome: Sequence[int]) -> tuple[int, int, bytes]:
    """Width, height, and a PNG. Needs Pillow."""
    from PIL import Image, ImageDraw, ImageFont

    image_shape = "{channels} x {height} x {width}".format(**network["input"])
    blocks = network_rows(network, genome)
    rows = [Row("image", image_shape), *blocks, Row("output", f"{network['classes']} classes")]
    operations = sorted({name for slot in network["slots"] for name in slot["choices"]})
    most = max([len(block.layers) for block in blocks] + [2])
    width = LEFT + most * (BOX[0] + GAP) + MARGIN
    height = ROW * len(rows) + MARGIN
    image = Image.new("RGB", (width, height), GROUND)
    canvas = ImageDraw.Draw(image)
    large, small = ImageFont.load_default(30), ImageFont.load_default(26)

    for number, row in enumerate(rows):
        top = MARGIN + ROW * number
        middle = top + BOX[1] // 2
        canvas.text((MARGIN, middle - 18), row.title, fill=INK, font=large, anchor="lm")
        canvas.text((MARGIN, middle + 20), row.detail, fill=MUTED, font=small, anchor="lm")
        for place, (operation, meaning) in enumerate(row.layers):
            left = LEFT + place * (BOX[0] + GAP)
            if place:
                canvas.line((left - GAP, middle, left, middle), fill=LINE, width=3)
            computes = meaning == "sequence"
            fill = _colour(operations.index(operation), len(operations)) if computes else GROUND
            canvas.rounded_rectangle((left, top, left + BOX[0], top + BOX[1]), radius=12, fill=fill, outline=LINE, width=2)
            text = _fitting(operation, lambda text: canvas.textlength(text, font=small))
            canvas.text((left + BOX[0] // 2, middle), text, fill=INK if computes else MUTED, font=small, anchor="mm")
        if row in blocks and not row.layers:
            canvas.text((LEFT, middle), "passes its input through", fill=MUTED, font=small, anchor="lm")
    file = io.BytesIO()
    image.save(file, "PNG")
    return width, height, file.getvalue()


def _colour(index: int, count: int) -> tuple[int, int, int]:
    """Pale, so that dark text is readable on every one."""
    return tuple(round(255 * part) for part in colorsys.hls_to_rgb(index / max(count, 1), 0.84, 0.6))


def _fitting(text: str, length: Callable[[str], float]) -> str:
    """The text, cut where its box is too small."""
    room = BOX[0] - 24
    if length(text) <= room:
        return text
    while text and length(f"{text}..") > room:
        text = text[:-1]
    return f"{text}.."
