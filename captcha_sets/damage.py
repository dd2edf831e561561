"""What happens to a finished captcha, for captcha_sets/styles.py: warp, blur, noise, JPEG traces.

image = damaged(image, rng, noise)
"""

import io
import math
import random

import numpy as np
from PIL import Image, ImageFilter, ImageOps

MESH = (8, 2)  # columns and rows in which an image is warped


def damaged(image: Image.Image, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    """Damage an RGB image by each of DAMAGE, or not, at random."""
    for share, damage in DAMAGE:
        if rng.random() < share:
            image = damage(image, rng, noise)
    return image


def _warped(image: Image.Image, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    """Move the nodes of a mesh along waves, or at random. What enters at an edge mirrors what is beside it."""
    width, height = image.size
    margin = height // 3
    pixels = np.pad(np.asarray(image), ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    strength = rng.uniform(0.02, 0.11) * height
    turns, phase, unrest = rng.uniform(0.5, 2.5), rng.uniform(0, math.tau), rng.choice([0, 0, 0.5, 1])
    columns, rows = MESH
    nodes = {}
    for i in range(columns + 1):
        wave = strength * math.sin(phase + turns * math.tau * i / columns)
        for j in range(rows + 1):
            right, down = (rng.uniform(-unrest, unrest) * strength for _ in range(2))
            nodes[i, j] = (margin + width * i / columns + right, margin + height * j / rows + down + wave)
    mesh = []
    for i in range(columns):
        for j in range(rows):
            box = (width * i // columns, height * j // rows, width * (i + 1) // columns, height * (j + 1) // rows)
            corners = (*nodes[i, j], *nodes[i, j + 1], *nodes[i + 1, j + 1], *nodes[i + 1, j])
            mesh.append((box, corners))
    return Image.fromarray(pixels).transform(image.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


def _blurred(image: Image.Image, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.3)))


def _coarse(image: Image.Image, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    small = image.resize((round(image.width * 0.6), round(image.height * 0.6)), Image.Resampling.BILINEAR)
    return small.resize(image.size, rng.choice([Image.Resampling.NEAREST, Image.Resampling.BICUBIC]))


def _noisy(image: Image.Image, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image, np.int16)
    if rng.random() < 0.5:
        strength, channels = rng.uniform(5, 35), rng.choice([1, 3])
        pixels = pixels + noise.normal(0, strength, (*pixels.shape[:2], channels)).astype(np.int16)
    else:
        share, value = rng.uniform(0.01, 0.1), rng.choice([0, 255, 128])
        pixels = np.where(noise.random(pixels.shape[:2])[..., None] < share, value, pixels)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _grey(image: Image.Image, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    return ImageOps.grayscale(image).convert("RGB")


def _through_jpeg(image: Image.Image, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, format="jpeg", quality=rng.randint(20, 90))
    return Image.open(file).convert("RGB")


DAMAGE = (  # share of captchas, and what is done to them, in this order
    (0.35, _warped),
    (0.15, _blurred),
    (0.1, _coarse),
    (0.25, _noisy),
    (0.2, _grey),
    (0.3, _through_jpeg),
)
