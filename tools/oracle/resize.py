"""Writes test/golden/resize/<case>.png: RGB images resized by Pillow's bicubic filter, for the test of image_resize.

    /usr/bin/python3 tools/oracle/resize.py

Only the results are stored. The sources are made by whole-number rules that test/ops/image_resize.test.ts repeats:

- noise: the upper bytes of a linear congruential generator, state = state * 1664525 + 1013904223 mod 2^32 from state 1,
  one step per byte, in the order of the bytes;
- gradient: (x * (3 + channel) + y * (7 - 2 * channel)) mod 511, values above 255 mirrored to 510 - value, and pure white
  where (x // 16 + y // 16) is a multiple of 5: ramps, with edges whose overshoot must be clipped.

The case's name tells its rule and sizes: noise-37x53-64x64 takes 37 wide and 53 high to 64 wide and 64 high.
"""

from pathlib import Path

import numpy
import PIL
from PIL import Image

FOLDER = Path(__file__).resolve().parents[2] / 'test' / 'golden' / 'resize'

CASES = [
    ('noise', (37, 53), (64, 64)),
    ('noise', (300, 201), (127, 93)),
    ('noise', (64, 64), (64, 64)),
    ('noise', (1, 1), (7, 7)),
    ('noise', (2, 3), (31, 5)),
    ('noise', (97, 40), (23, 40)),
    ('noise', (40, 97), (40, 131)),
    ('noise', (1999, 3), (1, 2)),
    ('gradient', (517, 389), (224, 224)),
    ('gradient', (20, 200), (90, 31)),
    ('gradient', (61, 67), (120, 110)),
]


def source(rule, width, height):
    """The source image [height, width, 3] of a rule, uint8."""
    if rule == 'noise':
        values, state = numpy.empty(width * height * 3, numpy.uint8), 1
        for i in range(values.size):
            state = (state * 1664525 + 1013904223) % 2**32
            values[i] = state >> 24
        return values.reshape(height, width, 3)
    y, x, channel = numpy.meshgrid(numpy.arange(height), numpy.arange(width), numpy.arange(3), indexing='ij')
    ramp = (x * (3 + channel) + y * (7 - 2 * channel)) % 511
    ramp = numpy.where(ramp > 255, 510 - ramp, ramp)
    return numpy.where((x // 16 + y // 16) % 5 == 0, 255, ramp).astype(numpy.uint8)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for rule, (width, height), target in CASES:
        image = Image.fromarray(source(rule, width, height), 'RGB').resize(target, Image.BICUBIC)
        file = FOLDER / f'{rule}-{width}x{height}-{target[0]}x{target[1]}.png'
        image.save(file, optimize=True)
        print(f'{file.name}: {file.stat().st_size} bytes')
    print(f'Pillow {PIL.__version__}')


if __name__ == '__main__':
    main()
