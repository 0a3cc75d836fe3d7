"""Writes test/golden/metrics.safetensors: scores and maps with the metrics that scikit-learn and a plain AUPRO give them.

    /usr/bin/python3 tools/oracle/metrics.py
    /usr/bin/python3 tools/oracle/metrics.py RUN DATA

The second form checks a whole evaluation instead: it computes the metrics of a run of `mfp-clip eval --maps` from its maps
and the data set's masks, and compares them with results.json.

Needs numpy, torch, Pillow, scikit-learn and scikit-image (Debian: python3-sklearn, python3-skimage).

Each case is a class of a data set: `<case>.score` [images], `<case>.label` [images], `<case>.map` [images, height, width],
`<case>.mask` [images, height, width], and in the metadata, under the case's name, the metrics as JSON; null where a metric
has no value.
"""

import json
import sys
from pathlib import Path

import numpy
import torch
from PIL import Image
from skimage.measure import label as label_regions
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from safetensors_file import write_safetensors

FILE = Path(__file__).resolve().parents[2] / 'test' / 'golden' / 'metrics.safetensors'

HEIGHT, WIDTH, IMAGES = 32, 40, 5
LIMIT = 0.3


def ranking_metrics(labels, scores):
    """AUROC, average precision and the largest F1 of a ranking, as scikit-learn computes them."""
    if labels.min() == labels.max():
        return {'auroc': None, 'averagePrecision': None, 'f1Max': None}
    precision, recall, _ = precision_recall_curve(labels, scores)
    with numpy.errstate(invalid='ignore'):
        f1 = numpy.nan_to_num(2 * precision * recall / (precision + recall))
    return {
        'auroc': roc_auc_score(labels, scores),
        'averagePrecision': average_precision_score(labels, scores),
        'f1Max': f1.max(),
    }


def aupro(masks, maps, limit=LIMIT):
    """Area under the per-region overlap curve, spelled out.

    At every threshold that any pixel has: the false positive rate is the share of the normal pixels of all images that
    reach it, the overlap is the mean over all 8-connected regions of the share of the region that reaches it. The area
    under the curve from (0, 0) by trapezoids, up to the limit, where the curve is cut by a straight line; divided by
    the limit.
    """
    regions = []
    for mask, scores in zip(masks, maps):
        numbers = label_regions(mask, connectivity=2)
        regions += [numpy.sort(scores[numbers == number]) for number in range(1, numbers.max() + 1)]
    normal = numpy.sort(maps[masks == 0])
    if not regions or not normal.size:
        return None
    rates, overlaps = [0.0], [0.0]
    for threshold in numpy.unique(maps)[::-1]:
        reached = lambda ascending: (len(ascending) - numpy.searchsorted(ascending, threshold, side='left')) / len(ascending)
        rates.append(reached(normal))
        overlaps.append(sum(reached(region) for region in regions) / len(regions))
    area = 0.0
    for i in range(1, len(rates)):
        x0, x1, y0, y1 = rates[i - 1], rates[i], overlaps[i - 1], overlaps[i]
        if x1 > limit:
            y1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            area += (limit - x0) * (y0 + y1) / 2
            break
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


def random_mask(random, count):
    """Defects of all kinds: discs, single pixels, pixels that only touch at a corner, some at the border."""
    mask = numpy.zeros((HEIGHT, WIDTH), numpy.uint8)
    y, x = numpy.mgrid[:HEIGHT, :WIDTH]
    for _ in range(count):
        cy, cx, radius = random.integers(HEIGHT), random.integers(WIDTH), random.choice([0, 1, 2, 5])
        mask |= ((y - cy) ** 2 + (x - cx) ** 2 <= radius**2).astype(numpy.uint8)
    cy, cx = random.integers(HEIGHT - 4), random.integers(WIDTH - 4)
    for i in range(4):
        mask[cy + i, cx + (i if i < 3 else 1)] = 1
    return mask


def logistic(values):
    return 1 / (1 + numpy.exp(-values))


# How the maps of a case come about: noise, and a lift where the mask is.
DISTRIBUTIONS = {
    'uniform': lambda noise, mask: 0.8 * logistic(1.6 * noise) + 0.2 * mask,
    'ties': lambda noise, mask: numpy.round(12 * logistic(noise + mask)) / 12,
    'near_zero': lambda noise, mask: logistic(2 * noise + 2 * mask - 9),
    'near_one': lambda noise, mask: logistic(noise + mask + 7),
    'both_ends': lambda noise, mask: logistic(9 * (noise + 0.4 * mask)),
    'constant': lambda noise, mask: numpy.full_like(noise, 0.3),
    'inverted': lambda noise, mask: logistic(noise - 5 * mask),
}


def make(name, distribution, labels, random):
    masks = numpy.stack([random_mask(random, 6) if label else numpy.zeros((HEIGHT, WIDTH), numpy.uint8) for label in labels])
    noise = random.standard_normal(masks.shape)
    maps = DISTRIBUTIONS[distribution](noise, masks).astype(numpy.float32)
    # Many more images than maps would fit: their scores are a case of their own.
    image_labels = numpy.concatenate([labels, random.integers(0, 2, 600) if 0 in labels and 1 in labels else numpy.repeat(labels, 40)])
    scores = DISTRIBUTIONS[distribution](random.standard_normal(len(image_labels)), image_labels).astype(numpy.float32)
    image = ranking_metrics(image_labels, scores)
    pixel = ranking_metrics(masks.ravel(), maps.ravel())
    metrics = {'image': image, 'pixel': pixel, 'aupro': aupro(masks, maps.astype(numpy.float64))}
    tensors = {'score': scores, 'label': image_labels.astype(numpy.uint8), 'map': maps, 'mask': masks}
    return {f'{name}.{key}': torch.from_numpy(value) for key, value in tensors.items()}, {name: json.dumps(metrics)}


def check(run, data):
    """Prints the metrics of every class that differ from those of a run. True if none does.

    Streamed pixel metrics of a class whose scores share few bins are rough, as the run itself says; these are printed alone.
    """
    run, data = Path(run), Path(data)
    results = json.loads((run / 'results.json').read_text())
    tolerance = 1e-6 if results['identity']['exact'] else 1e-4
    worst = 0.0
    for found in results['classes']:
        scores, labels, maps, masks = [], [], [], []
        for image in found['images']:
            file = Path(image['file'])
            maps.append(numpy.load(run / 'maps' / found['class'] / image['defect'] / (file.stem + '.npy')))
            mask = numpy.zeros(maps[-1].shape, numpy.uint8)
            if image['mask']:
                picture = Image.open(data / image['mask']).convert('L')
                # Masks with class numbers (VisA) have no white: there every pixel that is not black is part of a defect.
                threshold = 127 if numpy.asarray(picture).max() > 127 else 0
                picture = picture.point(lambda level: 255 * (level > threshold))
                mask = (numpy.asarray(picture.resize(mask.shape[::-1], Image.NEAREST)) > 127).astype(numpy.uint8)
            masks.append(mask)
            labels.append(image['label'])
            scores.append(maps[-1].max())
        maps, masks = numpy.stack(maps), numpy.stack(masks)
        expected = {f'image{key[0].upper()}{key[1:]}': value for key, value in ranking_metrics(numpy.array(labels), numpy.array(scores)).items()}
        expected.update({f'pixel{key[0].upper()}{key[1:]}': value for key, value in ranking_metrics(masks.ravel(), maps.ravel()).items()})
        expected['aupro'] = aupro(masks, maps.astype(numpy.float64))
        for key, value in expected.items():
            given = found['metrics'][key]
            error = float('inf') if (value is None) != (given is None) else 0.0 if value is None else abs(value - given)
            rough = key.startswith(('pixel', 'aupro')) and (found['pixelBins'] or 65536) < 1000
            if not rough:
                worst = max(worst, error)
            if error > tolerance:
                print(f'{found["class"]} {key}: {given}, expected {value}{" (rough: few bins)" if rough else ""}')
    print(f'{len(results["classes"])} classes, largest difference {worst:.1e}, allowed {tolerance}')
    return worst <= tolerance


def main():
    if len(sys.argv) == 3:
        sys.exit(0 if check(*sys.argv[1:]) else 1)
    random = numpy.random.default_rng(4)
    mixed = [0, 1, 1, 0, 1]
    cases = [(name, name, mixed) for name in DISTRIBUTIONS]
    cases += [('all_normal', 'uniform', [0, 0]), ('all_abnormal', 'uniform', [1, 1])]
    tensors, metadata = {}, {}
    for name, distribution, labels in cases:
        made, described = make(name, distribution, numpy.array(labels), random)
        tensors.update(made)
        metadata.update(described)
        print(name, described[name])
    write_safetensors(FILE, tensors, metadata)
    print(f'{FILE.stat().st_size} bytes')


if __name__ == '__main__':
    main()
