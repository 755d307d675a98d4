"""Rasterising of one face: action units move features, Pillow paints them.

Features are given in face coordinates (`Frame`). Vertices are rounded to whole pixels before painting and noise to
whole grey levels after it, so that the same factors give the same bytes everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

FRAMINGS = ("scene", "tight")
UNITS = (1, 2, 4, 5, 6, 7, 9, 12, 14, 15, 16, 20, 23, 26)  # the action units that the drawing knows
FULL_DROP = 0.22  # how far the fullest jaw drop lowers the chin, in half head heights
_FACE_TOP = -0.80  # where the face box starts: above the highest brow, below the skull's top
_MARGIN = 2  # pixels around the outline, so that no blur carries the expression out of the box
_TURN = np.linspace(0, 2 * np.pi, 49)[:-1]  # the angles of an outline's 48 points
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)[::2]
_SPAN = np.linspace(-1, 1, 17)
_HALF = np.linspace(0, 1, 7)
Point = tuple[float, float]
Colour = tuple[int, ...]  # RGB
_SKIN = ((250, 222, 200), (236, 192, 160), (205, 152, 115), (156, 106, 76), (108, 72, 54))
_HAIR = ((28, 24, 24), (62, 42, 30), (110, 72, 42), (150, 70, 34), (206, 168, 104), (150, 148, 146))
_IRIS = ((62, 38, 22), (92, 62, 36), (86, 112, 70), (72, 112, 152))


def head_outline(f: Mapping[str, Any], drop: float) -> np.ndarray:
    """The head's outline (48, 2) with the chin lowered by `drop`."""
    x, y = np.cos(_TURN), np.sin(_TURN)
    power = np.where(y > 0, 0.95 - 0.3 * f["jaw_width"], 0.95)
    x = f["face_width"] * np.sign(x) * np.abs(x) ** power * (1 - 0.12 * np.clip(y, 0, 1))
    share = np.clip((y - 0.25) / 0.6, 0, 1)  # a dropping jaw moves nothing above the nose tip
    return np.stack([x, y + drop * share * share * (3 - 2 * share)], axis=1)


class Frame:
    """Where a face lies in its picture: face coordinates to pixels."""

    def __init__(self, f: Mapping[str, Any]) -> None:
        self.f, size = f, f["size"]
        roll = math.radians(f["roll"])
        self.turn = np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]])
        yaw, pitch = math.radians(f["yaw"]), math.radians(f["pitch"])
        self.yaw, self.pitch = (math.cos(yaw), math.sin(yaw)), math.sin(pitch)
        outline = head_outline(f, FULL_DROP)
        outline[:, 1] = np.maximum(outline[:, 1], _FACE_TOP)
        turned = outline @ self.turn
        low, high = turned.min(axis=0), turned.max(axis=0)
        if f["framing"] == "scene":
            self.scale = f["face_height"] * size / (1 + FULL_DROP - _FACE_TOP)
            spare = size - 2 * (_MARGIN + 1) - (high - low) * self.scale
            # Hair above and a neck below need some room, as in a picture that somebody composed.
            share = np.array([0.1 + 0.8 * f["place_x"], 0.35 + 0.45 * f["place_y"]])
            corner = _MARGIN + 1 + spare * share
        else:
            self.scale = size / (f["crop"] * float((high - low).max()))
            spare = size - (high - low) * self.scale
            corner = spare / 2 + 0.06 * size * (np.array([f["place_x"], f["place_y"]]) - 0.5)
        self.origin = corner - low * self.scale
        self.box = (corner - _MARGIN, corner + (high - low) * self.scale + _MARGIN)

    def pixels(self, xy: np.ndarray) -> np.ndarray:
        """Face coordinates (n, 2) to pixels (n, 2)."""
        return self.origin + (xy @ self.turn) * self.scale

    def rotated(self, xy: np.ndarray, depth: float = 0.0) -> np.ndarray:
        """Points (n, 2) on the face's front after yaw and pitch; `depth` is how far they stand out."""
        x, y = xy[:, 0], xy[:, 1]
        bulge = 1 - (x / (1.15 * self.f["face_width"])) ** 2 - (0.6 * y) ** 2
        z = 0.5 * np.sqrt(np.clip(bulge, 0.0, 1.0)) + depth
        cosine, sine = self.yaw
        return np.stack([x * cosine + z * sine, y + z * self.pitch], axis=1)


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    """`one` with `share` (0 to 1) of `other`."""
    return tuple(round(a + (c - a) * share) for a, c in zip(one, other, strict=True))


def _scale(colour: Colour, factor: float) -> Colour:
    return tuple(max(0, min(255, round(value * factor))) for value in colour)


def _ramp(colours: tuple[Colour, ...], position: float) -> Colour:
    """The colour at `position` (0 to 1) of a piecewise linear scale."""
    at = position * (len(colours) - 1)
    below = min(int(at), len(colours) - 2)
    return _mix(colours[below], colours[below + 1], at - below)


class _Painter:
    """A face on a canvas `fine` times the picture's size."""

    def __init__(self, f: Mapping[str, Any]) -> None:
        self.f, self.frame, self.size = f, Frame(f), f["size"]
        self.fine = max(2, min(4, 384 // self.size))
        self.unit = self.frame.scale * self.fine
        self.rng = np.random.default_rng(int(f["texture_seed"]))
        self.image = Image.new("RGB", (self.size * self.fine, self.size * self.fine))
        self.pen = ImageDraw.Draw(self.image)
        self.au = {unit: float(f[f"au_{unit}"]) for unit in UNITS}
        side = int(f["au_side"])
        # (left of the picture, right of it): a one-sided expression leaves the other side at rest.
        self.sides = tuple(1.0 if side in (0, sign) else 0.0 for sign in (-1, 1))
        skin, warm = _ramp(_SKIN, f["skin_tone"]), 8 * f["skin_warmth"]
        self.skin = _scale((round(skin[0] + warm / 2), skin[1], round(skin[2] - warm)), 1.0)
        self.light = _mix(self.skin, (255, 244, 232), 0.16)
        self.hair = _ramp(_HAIR, f["hair_colour"])

    def tone(self, factor: float) -> Colour:
        """The skin's colour, darker by `factor`."""
        return _scale(self.skin, factor)

    def dots(self, xy: np.ndarray) -> list[tuple[int, ...]]:
        """Face coordinates (n, 2) to whole canvas pixels."""
        return [*map(tuple, np.rint(self.frame.pixels(xy) * self.fine).astype(int).tolist())]

    def fill(self, xy: Any, colour: Colour) -> None:
        """Paint a polygon (n, 2) that yaw and pitch do not move: outline, hair, body."""
        self.pen.polygon(self.dots(np.asarray(xy)), fill=colour)

    def front(self, xy: Any, colour: Colour, depth: float = 0.0) -> None:
        """Paint a polygon (n, 2) that turns with the face's front."""
        self.fill(self.frame.rotated(np.asarray(xy), depth), colour)

    def oval(self, at: tuple[float, float], radii: tuple[float, float], colour: Colour, depth: float = 0.0) -> None:
        self.front(_CIRCLE * radii + at, colour, depth)

    def ribbon(self, x: np.ndarray, top: np.ndarray, low: np.ndarray, colour: Colour, depth: float = 0.0) -> None:
        """Paint what lies between two curves over the same `x` (n,)."""
        edges = np.stack([np.concatenate([x, x[::-1]]), np.concatenate([top, low[::-1]])], axis=1)
        self.front(edges, colour, depth)

    def stroke(self, xy: Any, colour: Colour, width: float, depth: float = 0.0) -> None:
        """Paint a line (n, 2) on the face's front, `width` in face units."""
        dots = self.dots(self.frame.rotated(np.asarray(xy), depth))
        self.pen.line(dots, fill=colour, width=max(1, round(width * self.unit)))

    def wrinkle(self, a: Point, b: Point, c: Point, strength: float, width: float = 0.026) -> None:
        """A skin fold through three points, as dark as `strength` (0 to 1)."""
        if strength > 0.05:
            t = _HALF[:, None]
            curve = (1 - t) * (1 - 2 * t) * np.array(a) + 4 * t * (1 - t) * np.array(b) + t * (2 * t - 1) * np.array(c)
            self.stroke(curve, self.tone(0.88 - 0.42 * strength), width)

    def picture(self) -> np.ndarray:
        """Paint everything, light it, add the sensor's faults."""
        self.background()
        self.body()
        self.head()
        for sign, here in zip((-1, 1), self.sides, strict=True):
            self.cheek(sign, self.au[12] * here)
        self.nose()
        for sign in (-1, 1):
            self.eye(sign)
            self.brow(sign)
        self.mouth()
        self.fringe()
        if self.f["occlusion"] != "none":
            getattr(self, f"cover_{self.f['occlusion']}")()
        small = self.image.reduce(self.fine)
        if self.f["framing"] == "tight":
            small = small.convert("L")
        return self.lit(np.asarray(small.filter(ImageFilter.BoxBlur(self.f["blur"])), dtype=np.float32))

    def background(self) -> None:
        kind, side = self.f["background"], self.image.width
        first, second = (tuple(colour) for colour in self.rng.integers(40, 216, (2, 3)).tolist())
        places, colours = self.rng.random((30, 4)), self.rng.integers(20, 236, (30, 3)).tolist()
        self.pen.rectangle((0, 0, side, side), fill=first)
        if kind == "gradient":
            for i in range(1, 25):
                self.pen.rectangle((0, side * i // 25, side, side), fill=_mix(first, second, i / 24))
        number, reach = {"shapes": (6, 0.45 * side), "clutter": (30, 0.16 * side)}.get(kind, (0, 0.0))
        for i in range(number):
            x, y, w, h = (places[i] * (side, side, reach, reach)).tolist()
            paint = self.pen.rectangle if i % 2 else self.pen.ellipse
            paint([round(edge) for edge in (x - w, y - h, x + w, y + h)], fill=tuple(colours[i]))

    def body(self) -> None:
        """Hair behind the head, neck and shoulders: nothing here may depend on the action units."""
        wide, style, hair = self.f["face_width"], self.f["hair_style"], _scale(self.hair, 0.85)
        neck, lock = 0.62 * wide, wide + 0.26
        if style == "long":
            self.fill(_CIRCLE * (lock, 1.05) + (0, -0.12), hair)
            self.fill([(-lock, -0.1), (lock, -0.1), (lock - 0.06, 1.5), (0.06 - lock, 1.5)], hair)
        elif style == "bun":
            self.fill(_CIRCLE * 0.34 + (0, -1.15), hair)
        elif style == "curly":
            for x, y in _CIRCLE[12:]:
                self.fill(_CIRCLE * 0.30 + (x * (wide + 0.05), y * 0.95 - 0.05), hair)
        self.fill([(-neck, 0.4), (neck, 0.4), (neck, 1.75), (-neck, 1.75)], self.tone(0.74))
        collar, shoulder = [(-neck - 0.05, 1.5), (0, 1.85), (neck + 0.05, 1.5)], [(1.75, 1.95), (2.0, 4.0)]
        cloth = tuple(self.rng.integers(20, 220, 3).tolist())
        self.fill([(-2.0, 4.0), (-1.75, 1.95), *collar, *shoulder], cloth)

    def head(self) -> None:
        f, wide = self.f, self.f["face_width"]
        for sign in (-1, 1):
            self.fill(_CIRCLE * (0.11, 0.20) + (sign * wide - 0.25 * self.frame.yaw[1], 0.08), self.tone(0.85))
        outline = head_outline(f, FULL_DROP * self.au[26])
        if f["hair_style"] != "bald":
            self.fill(np.minimum(_CIRCLE * (wide + 0.07, 1.02) + (0, -0.10), (9, 0.05)), self.hair)
            outline[:, 1] = np.maximum(outline[:, 1], _FACE_TOP + 0.02 + 0.2 * np.abs(outline[:, 0]))
        for shrink, shade in ((1.0, 0.84), (0.95, 0.90), (0.90, 0.95), (0.84, 1.0)):
            self.fill(outline * (shrink, 0.75 + 0.25 * shrink), self.tone(shade))
        self.oval((0, -0.56), (0.40, 0.13), _mix(self.skin, self.light, 0.6))

    def cheek(self, sign: int, smile: float) -> None:
        f, sneer = self.f, self.au[9]
        glow = _mix(self.light, (232, 120, 110), 0.25)
        high = 0.27 - 0.05 * self.au[6] - 0.02 * smile
        self.oval((sign * 0.40, high), (0.17, 0.11 + 0.02 * smile), _mix(self.skin, glow, 0.35 + 0.35 * self.au[6]))
        wing, start = sign * (f["nose_width"] + 0.03), f["nose_length"] - 0.03 - 0.03 * sneer
        corner = sign * (f["mouth_width"] * (1 + 0.28 * smile) + 0.08)
        end = f["mouth_height"] - (0.02 if smile else 0.12)
        middle = (0.45 * wing + 0.62 * corner, 0.45 * start + 0.5 * end)
        self.wrinkle((wing, start), middle, (corner, end), max(smile, sneer))

    def nose(self) -> None:
        sneer = self.au[9]
        tip, wide = self.f["nose_length"] - 0.035 * sneer, self.f["nose_width"] * (1 + 0.18 * sneer)
        side = [(-0.055, -0.12), (0.055, -0.12), (0.75 * wide, tip), (-0.75 * wide, tip)]
        bridge = [(-0.035, -0.15), (0.035, -0.15), (0.06, tip - 0.04), (-0.06, tip - 0.04)]
        self.front(side, self.tone(0.84), 0.08)
        self.front(bridge, self.light, 0.14)
        for sign in (-1, 1):
            self.oval((sign * 0.62 * wide, tip), (0.45 * wide, 0.07), self.tone(0.88), 0.06)
        self.oval((0, tip - 0.01), (0.5 * wide, 0.085), _mix(self.skin, self.light, 0.5), 0.14)
        for sign in (-1, 1):
            self.oval((sign * 0.48 * wide, tip + 0.055), (0.28 * wide, 0.028), self.tone(0.38), 0.1)
            for y in (-0.06, 0.02, 0.10):
                self.wrinkle((sign * 0.02, y - 0.02), (sign * 0.06, y), (sign * 0.12, y + 0.05), sneer)

    def eye(self, sign: int) -> None:
        f, au, half, middle = self.f, self.au, self.f["eye_size"], sign * self.f["eye_spacing"]
        rest = half * f["eye_openness"]
        upper = rest * (1 + 0.85 * au[5] - 0.35 * au[7] - 0.15 * au[6] - 0.2 * au[9])
        lower = rest * (0.75 - 0.65 * au[6] - 0.40 * au[7] - 0.2 * au[9] + 0.15 * au[5])
        x, bow = middle + half * _SPAN, 1 - np.abs(_SPAN) ** 2.2
        slope = -0.02 * sign * _SPAN  # the lids' line rises towards the temple
        above, below = slope - upper * bow, slope + lower * bow
        self.oval((middle, -0.02), (1.32 * half, 0.9 * half), self.tone(0.88))
        self.ribbon(x, above, below, (240, 238, 234))
        for radius, colour in ((0.80 * rest, _ramp(_IRIS, f["iris_colour"])), (0.40 * rest, (14, 12, 12))):
            # The lids cut the iris, which stays where it is: a raised lid shows white above it.
            disc = _CIRCLE * radius + (middle, -0.1 * rest)
            disc[:, 1] = np.clip(disc[:, 1], np.interp(disc[:, 0], x, above), np.interp(disc[:, 0], x, below))
            self.front(disc, colour)
        self.oval((middle + 0.03, -0.35 * rest), (0.018, 0.018), (255, 255, 255))
        self.stroke(np.stack([x, above], 1), (30, 22, 20), 0.034)
        self.stroke(np.stack([x, below], 1), self.tone(0.55), 0.018)
        self.stroke(np.stack([x, slope - (upper + 0.05) * bow**0.7], 1), self.tone(0.66), 0.016)
        squeeze = max(au[6], 0.7 * au[7], 0.5 * au[9])
        bag = slope + (0.085 - 0.02 * squeeze + lower) * bow**0.7
        self.wrinkle((x[3], bag[3]), (x[8], bag[8]), (x[13], bag[13]), squeeze)
        foot = [middle + sign * (1.08 * half + 0.05 * step) for step in range(3)]
        for y in (-0.07, 0.0, 0.07):
            self.wrinkle((foot[0], 0.3 * y), (foot[1], 0.7 * y), (foot[2], 1.4 * y), au[6])

    def brow(self, sign: int) -> None:
        f, au = self.f, self.au
        t = np.linspace(0, 1, 9)  # from the inner end to the outer one
        inner, outer = (1 - t) ** 1.5, np.clip(1.6 * t - 0.3, 0, 1)
        lowered = au[4] * (0.10 * inner + 0.03) * (1 - 0.55 * (au[1] > 0)) + 0.05 * au[9] * (1 - 0.6 * t)
        lift = 0.125 * au[1] * inner + 0.12 * au[2] * outer - lowered
        rest = f["brow_height"] + f["brow_tilt"] * (2 * t - 1) + 0.14 * t * (1 - t) - 0.03 * t**3
        start = 0.125 - 0.05 * au[4] - 0.015 * au[9]
        x = sign * (start + (f["eye_spacing"] + 0.95 * f["eye_size"] - start) * t)
        thick = f["brow_thickness"] * (1 - 0.65 * t**2)
        y = -(rest + lift)
        self.ribbon(x, y - thick, y + 0.6 * thick, _mix(_scale(self.hair, 0.70), self.tone(0.45), 0.25), 0.03)
        self.wrinkle((sign * 0.05, -0.33), (sign * 0.035, -0.26), (sign * 0.05, -0.17), au[4])
        for y0 in (-0.46, -0.55):
            self.wrinkle((0, y0), (sign * 0.1, y0 - 0.01), (sign * 0.2, y0), 0.7 * au[1], 0.02)
            self.wrinkle((sign * 0.2, y0), (sign * 0.32, y0 - 0.02), (sign * 0.42, y0 + 0.03), 0.7 * au[2], 0.02)

    def mouth(self) -> None:
        f, s, au = self.f, _SPAN, self.au
        here = np.where(s < 0, self.sides[0], self.sides[1])
        smile, grin, drop = au[12] * here, au[12] * min(self.sides), FULL_DROP * au[26]
        corner = f["mouth_rest"] + 0.115 * au[15] + 0.08 * au[20] - 0.14 * smile - 0.02 * au[14] * here
        reach = 0.26 * smile + 0.30 * au[20] - 0.14 * au[23] - 0.24 * au[26] * (1 - au[20])
        x = f["mouth_width"] * s * (1 + reach)
        seam = f["mouth_height"] - 0.03 * au[9] + 0.03 * grin + corner * np.abs(s) ** 1.7
        bow, flat, lip = 1 - s * s, 1 - s**4, 1 - np.abs(s) ** 2.4
        raised = 0.045 * au[9] + 0.035 * grin + 0.05 * au[26] * (1 - 0.6 * au[20])
        lowered = drop * (1 - 0.35 * au[20]) + 0.085 * au[16] + 0.055 * grin
        full = f["lip_thickness"] * (1 - 0.65 * au[23] - 0.2 * grin - 0.25 * au[20])
        top, low = seam - raised * bow, seam + lowered * (flat if au[20] or au[16] else np.sqrt(bow))
        notch = 1 - 0.22 * np.clip(1 - np.abs(s) / 0.3, 0, 1)  # the cupid's bow
        chin = float((low + 1.1 * full * lip).max()) + 0.045
        self.oval((0, chin), (0.55 * f["mouth_width"], 0.03), self.tone(0.88), 0.04)
        red = _mix(self.tone(0.80), (176, 58, 62), 0.5)
        self.ribbon(x, top - 0.85 * full * lip * notch, top, _scale(red, 0.90), 0.05)
        self.ribbon(x, low, low + 1.1 * full * lip, red, 0.05)
        if lowered + raised > 0.02:
            self.ribbon(x, top, low, (58, 20, 24), 0.05)
            if lowered > 0.12:  # the tongue
                self.ribbon(x, low - 0.3 * lowered * bow**2, low, (168, 74, 78), 0.05)
            if grin or au[26]:
                self.ribbon(x, top, top + np.minimum(low - top, 0.06 * bow), (238, 232, 222), 0.05)
            if au[16]:
                self.ribbon(x, low - 0.65 * (low - top), low, (228, 222, 208), 0.05)
        self.stroke(np.stack([x, top], 1), _scale(red, 0.45), 0.022, 0.05)
        for sign, end, side in ((-1, 0, self.sides[0]), (1, -1, self.sides[1])):
            out, y = float(x[end]) + sign * 0.035, float(seam[end])
            self.wrinkle((float(x[end]), y), (out, y + 0.05), (out + sign * 0.01, y + 0.13), au[15])
            self.wrinkle((out, y - 0.06), (out + sign * 0.03, y), (out, y + 0.06), au[14] * side, 0.04)
            self.wrinkle((out, y - 0.10), (out + sign * 0.04, y), (out, y + 0.12), 0.8 * au[20])

    def fringe(self) -> None:
        wide = self.f["face_width"]
        if self.f["hair_style"] in ("long", "curly"):
            part = 0.3 * wide * self.f["side"]
            for edge in (-wide, wide):
                top, tip = [(part, -1.0), (part, -0.82), (0.8 * edge, -0.5)], (1.02 * edge, 0.1)
                self.fill([*top, tip, (1.12 * edge, -0.2), (edge, -0.8)], self.hair)

    # What covers a part of the face, by occlusion: where and how depends on no action unit.

    def cover_glasses(self) -> None:
        shade, half, apart = self.f["occlusion_shade"], self.f["eye_size"], self.f["eye_spacing"]
        rim = _ramp(((20, 20, 24), (90, 60, 40), (170, 40, 40)), shade)
        for sign in (-1, 1):
            ring = _CIRCLE * (1.45 * half, 1.15 * half) + (sign * apart, 0.01)
            if shade < 0.3:
                self.front(ring, (38, 36, 44), 0.05)
            self.stroke([*ring, *ring[:2]], rim, 0.04, 0.05)
            self.stroke([(sign * (apart + 1.4 * half), -0.02), (sign * self.f["face_width"], -0.04)], rim, 0.04)
        self.stroke([(-0.10, -0.02), (0.0, -0.05), (0.10, -0.02)], rim, 0.04, 0.08)

    def cover_mask(self) -> None:
        cloth = _ramp(((40, 42, 48), (120, 170, 200), (235, 238, 240)), self.f["occlusion_shade"])
        cover = head_outline(self.f, FULL_DROP) * 0.98
        cover[:, 1] = np.maximum(cover[:, 1], 0.22 + 0.06 * np.abs(cover[:, 0]))
        self.fill(cover, cloth)
        for y in (0.5, 0.66):
            self.stroke([(-0.5, y - 0.05), (0.0, y), (0.5, y - 0.05)], _scale(cloth, 0.8), 0.02)

    def cover_hair(self) -> None:
        wide, reach = self.f["face_width"], 0.2 + 0.25 * self.f["occlusion_shade"]
        inner = [(-0.3, -1.05), (0.1, -0.4), (wide - 0.42, reach - 0.1), (wide - 0.2, reach + 0.35)]
        outer = [(wide, 0.2), (wide + 0.06, -0.4), (0.4 * wide, -1.08)]
        self.fill(np.array([*inner, *outer]) * (self.f["side"], 1), self.hair)

    def cover_hand(self) -> None:
        shade, sign = self.f["occlusion_shade"], self.f["side"]
        at = np.array([0.15 + 0.25 * shade, 0.75 - 0.5 * shade])
        skin = self.tone(0.92)
        for finger in range(4):
            tip = at + np.array([0.05 * abs(finger - 1) - 0.42, 0.15 * finger - 0.16])
            root = at + np.array([0.2, 0.12 * finger - 0.1])
            dots = self.dots(np.array([root, tip]) * (sign, 1))
            self.pen.line(dots, fill=self.tone(0.62), width=round(0.17 * self.unit))
            self.pen.line(dots, fill=skin, width=round(0.135 * self.unit))
            self.fill((_CIRCLE * 0.068 + tip) * (sign, 1), skin)
        self.fill((_CIRCLE * (0.34, 0.33) + at + (0.32, 0.1)) * (sign, 1), skin)
        arm = at + np.array([(0.1, 0.35), (0.62, 0.1), (1.3, 1.2), (0.8, 1.5)])
        self.fill(arm * (sign, 1), self.tone(0.88))

    def lit(self, small: np.ndarray) -> np.ndarray:
        """Light, contrast and sensor noise on a picture (size, size[, 3]) of floats; grey levels out."""
        slope = 1 + self.f["side_light"] * np.linspace(-1, 1, self.size, dtype=np.float32)
        gain = (self.f["brightness"] * slope).astype(np.float32).reshape(1, -1, *[1] * (small.ndim - 2))
        noise = self.rng.standard_normal(small.shape, dtype=np.float32) * np.float32(self.f["noise"])
        lit = (small * gain - 118) * np.float32(self.f["contrast"]) + 118 + noise
        return np.clip(np.rint(lit), 0, 255).astype(np.uint8)


def draw_face(factors: Mapping[str, Any]) -> np.ndarray:
    """Draw one row of `fermoe.data.synthetic.face_table` (a mapping or a pandas row).

    Returns uint8: (size, size, 3) RGB for "scene", (size, size) grey for "tight".
    """
    # Plain numbers: Pillow takes no NumPy scalars everywhere.
    return _Painter({k: v.item() if isinstance(v, np.generic) else v for k, v in factors.items()}).picture()
