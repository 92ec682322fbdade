"""Operation `portrait_effect`: a portrait as a studio, a lens, a film or a magazine would show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import matte
from ray_cluster.engines import mesh as face
from ray_cluster.engines.decode import Pixels
from ray_cluster.engines.people import PeopleEngine, PeopleParams, Sight
from ray_cluster.engines.wipe import wipe

Field = NDArray[np.float32]
Template = Literal["studio", "bokeh", "noir", "golden", "film", "polaroid", "poster"]

BLUR = 0.014
"""Radius of the lens's disc, as a share of the picture's longer side."""
DISC_PX = 9
"""Radius at which a background is blurred: what is soft needs no more pixels than show its disc round."""
FIELD_PX = 160
"""Longer side at which light and shade are worked out."""
GRAIN = 5.5
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class PortraitParams(PeopleParams, frozen=True):
    """`template` is the look."""

    template: Template = "studio"


class PortraitEffect(PeopleEngine[PortraitParams]):
    """One photo of somebody in, one composed portrait out; all templates keep the size."""

    params: ClassVar[type[PeopleParams]] = PortraitParams

    def edit(
        self, sights: Sequence[Sight], wanted: PortraitParams, *, seed: int, step: Callable[[float], None]
    ) -> Pixels:
        """The portrait. `seed` is the film's grain."""
        sight = sights[0]
        sight.body()
        alpha = matte.refine(sight.pixels, sight.everybody(), max(sight.pixels.shape[:2]))
        step(0.4)
        scene = _Scene(sight, alpha, seed)
        try:
            made = getattr(scene, wanted.template)()
        finally:
            scene.wipe()
        return np.asarray(np.clip(made + 0.5, 0, 255), np.uint8)


class _Scene:
    """One photo and its layers; each public method is a template and answers H x W x 3, 0..255."""

    def __init__(self, sight: Sight, alpha: Field, seed: int) -> None:
        self._photo = sight.pixels.astype(np.float32)
        self._person = matte.clean_rim(sight.pixels, alpha, max(alpha.shape)).astype(np.float32)
        self._alpha = alpha[..., None]
        self._seed = seed
        self._height, self._width = alpha.shape
        self._longer = max(alpha.shape)
        self._centre, self._size = _subject(sight)

    def wipe(self) -> None:
        """Overwrite the layers."""
        wipe(self._photo, self._person, self._alpha)

    def studio(self) -> Field:
        """Before a grey backdrop that is lit in the middle, with a soft key light on the face."""
        lit = self._around(1.9)
        backdrop = np.array([46, 50, 57], np.float32) + np.array([120, 122, 124], np.float32) * lit**1.5
        soft = self._background(3.0)
        behind = backdrop * 0.88 + soft * 0.12
        person = self._person * (0.93 + 0.17 * self._around(0.8))
        return self._vignette(self._laid(_curve(person, 0.12), np.asarray(behind, np.float32)), 0.25)

    def bokeh(self) -> Field:
        """As a fast lens draws it: the place melts into discs."""
        return self._vignette(self._laid(_curve(self._person, 0.06), self._background(1.6)), 0.12)

    def noir(self) -> Field:
        """Black and white, the light on the face and little else."""
        behind = self._background(0.8) * 0.5
        grey = (self._laid(self._person, behind) @ _LUMA)[..., None]
        lit = grey * (0.62 + 0.55 * self._around(1.3))
        toned = _curve(lit, 0.42) * np.array([1.0, 0.985, 0.96], np.float32)
        return self._vignette(self._grained(toned), 0.5)

    def golden(self) -> Field:
        """The last hour of sun, from behind and to the right."""

        def glow(x: Field, y: Field) -> Field:
            far = np.square((x - 0.95 * self._width) / 0.55) + np.square((y - 0.1 * self._height) / 0.6)
            return np.asarray(np.exp(-far / self._longer**2), np.float32)

        sun = self._field(glow)
        behind = self._background(1.4) * np.array([1.08, 0.97, 0.78], np.float32)
        behind += sun * np.array([125, 72, 18], np.float32)
        edge = cv2.GaussianBlur(self._alpha, (0, 0), 0.012 * self._longer)
        away = np.array([[1, 0, -0.008 * self._longer], [0, 1, 0.006 * self._longer]])
        inner = cv2.warpAffine(edge, away, (self._width, self._height), borderMode=cv2.BORDER_REPLICATE)
        rim = np.clip(self._alpha - np.asarray(inner, np.float32)[..., None], 0, 1) * sun
        person = self._person * np.array([1.06, 1.0, 0.88], np.float32) + rim * np.array([210, 150, 80], np.float32)
        mixed = self._laid(person, behind) + sun * np.array([34, 20, 5], np.float32)
        return _curve(mixed, 0.08)

    def film(self) -> Field:
        """Colour film: lifted blacks, cool shadows, warm lights, grain, and the gate's black frame."""
        light = (self._photo @ _LUMA / 255)[..., None]
        faded = 22 + _curve(self._photo, 0.16) * np.float32(0.886)
        faded = faded + (1 - light) * np.array([-7, 2, 8], np.float32) + light * np.array([8, 2, -10], np.float32)
        grained = self._grained(self._vignette(np.asarray(faded, np.float32), 0.2))
        return self._framed(grained, 0.03, np.array([12, 11, 10], np.float32), 0.02)

    def polaroid(self) -> Field:
        """An instant picture: milky, warm, on its white card with the broad foot."""
        milky = 18 + self._photo * (np.array([1.03, 1.0, 0.92], np.float32) * np.float32(0.894))
        card = np.array([244, 242, 236], np.float32)
        out = np.empty_like(self._photo)
        out[:] = card
        side, foot = round(0.045 * self._longer), round(0.15 * self._longer)
        high, wide = max(1, self._height - side - foot), max(1, self._width - 2 * side)
        inner = self._cropped(self._vignette(milky, 0.18), wide, high)
        out[side : side + high, side : side + wide] = inner
        return self._edged(out, (side, side, side + wide, side + high), 0.10)

    def poster(self) -> Field:
        """Out of a frame: two colours behind, the head over the line."""
        grey = (self._background(0.9) @ _LUMA / 255)[..., None]
        dark, bright = np.array([26, 42, 78], np.float32), np.array([236, 142, 92], np.float32)
        behind = dark + (bright - dark) * np.clip(0.2 + 0.75 * grey + 0.25 * self._around(1.5), 0, 1)
        inset, line = round(0.05 * self._longer), max(2, round(0.008 * self._longer))
        top = max(inset, round(self._centre[1] - 0.35 * self._size))
        if top < self._height - 2 * inset:
            cv2.rectangle(
                behind,
                (inset, top),
                (self._width - 1 - inset, self._height - 1 - inset),
                (250, 244, 232),
                line,
                cv2.LINE_AA,
            )
        return self._laid(_curve(self._person, 0.14), behind)

    def _laid(self, person: Field, behind: Field) -> Field:
        return np.asarray(behind + (person - behind) * self._alpha, np.float32)

    def _field(self, value: Callable[[Field, Field], Field]) -> Field:
        """H x W x 1 of a smooth function of the place (x, y in pixels)."""
        scale = min(1.0, FIELD_PX / self._longer)
        width, height = max(1, round(self._width * scale)), max(1, round(self._height * scale))
        x = (np.arange(width, dtype=np.float32) + np.float32(0.5)) * np.float32(self._width / width)
        y = (np.arange(height, dtype=np.float32) + np.float32(0.5)) * np.float32(self._height / height)
        coarse = value(x[None, :], y[:, None]).astype(np.float32)
        wide = cv2.resize(coarse, (self._width, self._height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(wide, np.float32)[..., None]

    def _around(self, reach: float) -> Field:
        """1 at the head, falling off over `reach` of its size."""

        def fall(x: Field, y: Field) -> Field:
            far = np.hypot(x - self._centre[0], y - self._centre[1]) / (reach * self._size)
            return np.asarray(np.exp(-0.5 * far * far), np.float32)

        return self._field(fall)

    def _background(self, strength: float) -> Field:
        """The place out of focus. The person is left out of the blur, so that no halo of them surrounds them."""
        scale = min(1.0, DISC_PX / (BLUR * strength * self._longer))
        size = (max(1, round(self._width * scale)), max(1, round(self._height * scale)))
        alpha = cv2.resize(self._alpha, size, interpolation=cv2.INTER_AREA)
        weight = np.clip(1.02 - np.asarray(alpha, np.float32) * 1.02, 0.004, 1) ** 2
        small = np.asarray(cv2.resize(self._photo, size, interpolation=cv2.INTER_AREA), np.float32)
        radius = max(1, round(BLUR * strength * max(size)))
        side = 2 * radius + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).astype(np.float32)
        # Lights weigh more, as they do on film: a disc of light stays a disc instead of turning grey.
        bright = weight * (1 + 7 * (small @ _LUMA / 255) ** 4)
        layers = np.dstack([small * bright[..., None], bright]).astype(np.float32)
        near = np.asarray(cv2.filter2D(layers, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT))
        wide = np.asarray(cv2.GaussianBlur(layers, (0, 0), 4.0 * radius, borderType=cv2.BORDER_REFLECT))
        known = np.clip(np.asarray(cv2.blur(weight, (side, side))) * 4, 0, 1)[..., None]
        mixed = near[..., :3] / np.maximum(near[..., 3:], 1e-6) * known
        mixed += wide[..., :3] / np.maximum(wide[..., 3:], 1e-6) * (1 - known)
        wipe(small, layers, near, wide)
        return np.asarray(cv2.resize(mixed, (self._width, self._height), interpolation=cv2.INTER_CUBIC), np.float32)

    def _vignette(self, picture: Field, depth: float) -> Field:
        def shade(x: Field, y: Field) -> Field:
            far = np.hypot((x / self._width - 0.5) * 2, (y / self._height - 0.5) * 2)
            return np.asarray(1 - depth * np.clip((far - 0.55) / 0.85, 0, 1) ** 1.6, np.float32)

        return np.asarray(picture * self._field(shade), np.float32)

    def _grained(self, picture: Field) -> Field:
        """Grain of about a thousandth of the picture, strongest in the middle tones."""
        rng = np.random.default_rng(self._seed)
        scale = min(1.0, 1400 / self._longer)
        shape = (max(1, round(self._height * scale)), max(1, round(self._width * scale)))
        noise = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (0, 0), 0.7)
        wide = cv2.resize(noise, (self._width, self._height), interpolation=cv2.INTER_CUBIC)
        light = np.clip(picture @ _LUMA / 255, 0, 1)
        return np.asarray(picture + (wide * (GRAIN * (0.5 + 2 * light * (1 - light))))[..., None], np.float32)

    def _framed(self, picture: Field, share: float, colour: Field, corner: float) -> Field:
        """A frame of `share` of the longer side with round corners inside."""
        side, radius = round(share * self._longer), max(1, round(corner * self._longer))
        gate = np.zeros((self._height, self._width), np.uint8)
        x1, y1 = self._width - 1 - side, self._height - 1 - side
        if x1 - side > 2 * radius and y1 - side > 2 * radius:
            cv2.rectangle(gate, (side + radius, side), (x1 - radius, y1), 255, -1)
            cv2.rectangle(gate, (side, side + radius), (x1, y1 - radius), 255, -1)
            for at in (
                (side, side),
                (x1 - 2 * radius, side),
                (side, y1 - 2 * radius),
                (x1 - 2 * radius, y1 - 2 * radius),
            ):
                cv2.circle(gate, (at[0] + radius, at[1] + radius), radius, 255, -1, cv2.LINE_AA)
        else:
            gate[:] = 255
        open_ = cv2.GaussianBlur(gate.astype(np.float32) / 255, (0, 0), max(0.6, 0.001 * self._longer))[..., None]
        return np.asarray(colour + (picture - colour) * open_, np.float32)

    def _cropped(self, picture: Field, wide: int, high: int) -> Field:
        """The part of `picture` of that shape with the head in it, scaled to it."""
        scale = min(self._width / wide, self._height / high)
        width, height = max(1, round(wide * scale)), max(1, round(high * scale))
        left = int(np.clip(self._centre[0] - width / 2, 0, self._width - width))
        top = int(np.clip(self._centre[1] - 0.45 * height, 0, self._height - height))
        part = picture[top : top + height, left : left + width]
        return np.asarray(cv2.resize(part, (wide, high), interpolation=cv2.INTER_AREA), np.float32)

    def _edged(self, picture: Field, box: tuple[int, int, int, int], depth: float) -> Field:
        """A thin shade around `box`, as a card's window throws."""
        window = np.zeros((self._height, self._width), np.float32)
        window[box[1] : box[3], box[0] : box[2]] = 1
        soft = cv2.GaussianBlur(window, (0, 0), max(0.8, 0.004 * self._longer))
        shade = 1 - depth * np.clip(1 - np.abs(soft - 0.5) * 4, 0, 1)
        return np.asarray(picture * shade[..., None], np.float32)


def _curve(picture: Field, contrast: float) -> Field:
    """An S over 0..255: 0 leaves it, 1 is steep."""
    unit = np.clip(picture / 255, 0, 1)
    return np.asarray((unit + contrast * (unit * unit * (3 - 2 * unit) - unit) * 1.6) * 255, np.float32)


def _subject(sight: Sight) -> tuple[tuple[float, float], float]:
    """Middle and size in pixels of the largest head: by its mesh, else by the nose and the shoulders."""
    if sight.meshes:
        mesh = sight.meshes[0]
        low, high = mesh[list(face.OVAL), :2].min(0), mesh[list(face.OVAL), :2].max(0)
        middle = (low + high) / 2
        return (float(middle[0]), float(middle[1])), max(8.0, float(high[1] - low[1]))
    points = sight.bodies[0]
    return (float(points[0, 0]), float(points[0, 1])), max(
        8.0, 0.8 * float(np.hypot(*(points[11, :2] - points[12, :2])))
    )
