"""Writes the full-size case: ViT-L/14 and its text tower, ResNet-50 and all trained tensors with random weights, one 518×518 image, and
what the model must give for them. About 2 GB, which belong in no repository; `npm run parity:full` reads the folder.

    /usr/bin/python3 tools/oracle/full.py FOLDER [--float32] [--gradients]

The layout is that of the small goldens (README.md beside this file). On two busy cores this took four and a half minutes and 3.1 GiB of memory,
with --float32 70 seconds and 2.7 GiB; with --gradients, which adds `grad.*`, eight and a half minutes and 8.8 GiB.
"""

import argparse
import json
import resource
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from formats import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, clip_config, preprocessor_config
from generate import as_dtype, normalise, textures
from mfp_clip import PROMPTS, MfpClip, full_config
from safetensors_file import write_safetensors
from tokenizer import Tokenizer
from weights import ClipShape, Normal, ResNetShape, TowerShape, clip_weights, resnet_weights, trained_weights

SHAPE = ClipShape(TowerShape(1024, 24, 16, 4096), TowerShape(768, 12, 12, 3072), patch=14, image_size=336, joint=768, vocabulary=49408, eos_token_id=2)
RESNET = ResNetShape(64, (3, 4, 6, 3), 1000)
SEED = 518


class Cast(Mapping):
    """Weights that are cast when they are used, so that no second copy of all of them is in memory."""

    def __init__(self, weights, dtype):
        self.weights, self.dtype = weights, dtype

    def __getitem__(self, name):
        return self.weights[name].to(self.dtype)

    def __iter__(self):
        return iter(self.weights)

    def __len__(self):
        return len(self.weights)

    def __contains__(self, name):
        return name in self.weights


def write(folder, dtype, gradients):
    config = full_config({})
    tokenizer = Tokenizer(size=SHAPE.vocabulary)
    # CLIP's own temperature is 100, so the prompts' features must be close to each other, as they are in a trained CLIP.
    clip = clip_weights(SHAPE, SEED, 4.6052, 0.1)
    cnn = resnet_weights(RESNET, SEED + 1)
    trained = trained_weights(config, SHAPE, RESNET.features, SEED + 2)
    normal = Normal(SEED + 3)
    image, mask = textures(normal, (1,), config['image']['size'])
    cnn_image, _ = textures(normal, (1,), config['cnn']['size'])
    inputs = {
        'input.image': normalise(image, CLIP_MEAN, CLIP_STD),
        'input.cnn_image': normalise(cnn_image, IMAGENET_MEAN, IMAGENET_STD),
        'input.ids': torch.tensor([tokenizer.encode(prompt, SHAPE.context) for prompt in PROMPTS]),
        'input.mask': mask,
        'input.label': torch.ones(1),
    }

    for part in ('clip', 'cnn'):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name, content in (
        ('config.json', clip_config(SHAPE, 'full', 0)), ('tokenizer.json', tokenizer.json()), ('preprocessor_config.json', preprocessor_config(SHAPE, 'full')),
    ):
        (folder / 'clip' / name).write_text(json.dumps(content, indent=2) + '\n')
    write_safetensors(folder / 'clip' / 'model.safetensors', clip, {'format': 'pt'})
    write_safetensors(folder / 'cnn' / 'model.safetensors', cnn, {'format': 'pt'})
    write_safetensors(folder / 'mfp.safetensors', trained, {'config': json.dumps(config)})

    model = MfpClip(SHAPE.info(), Cast(clip, dtype), Cast(cnn, dtype), as_dtype(trained, dtype, requires_grad=gradients), config, low_memory=True)
    typed = as_dtype(inputs, dtype)
    with torch.set_grad_enabled(gradients):
        outputs = model.forward(typed['input.image'], typed['input.cnn_image'], typed['input.ids'])
        outputs.update(model.losses(outputs, typed['input.mask'], typed['input.label']))
        if gradients:
            outputs['loss.total'].backward()
            outputs.update({f'grad.{name}': tensor.grad for name, tensor in model.trained.items()})
    outputs = {name: value.detach() for name, value in outputs.items()}
    for name in ('map.coarse', 'map.final'):
        value = outputs[name]
        print(f'{name}: {value.min():.3f} to {value.max():.3f}, spread {value.std():.3f}')
    for name, value in outputs.items():
        if not torch.isfinite(value).all():
            raise ValueError(f'{name} is not finite')
    inputs['input.ids'] = inputs['input.ids'].int()
    write_safetensors(folder / 'golden.safetensors', {**inputs, **as_dtype(outputs, torch.float32)})


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description='Writes the full-size case and what the model must give for it.')
    parser.add_argument('folder', type=Path)
    parser.add_argument('--float32', action='store_true', help='compute in float32 instead of float64')
    parser.add_argument('--gradients', action='store_true', help='add the gradients of the trained tensors')
    options = parser.parse_args()
    torch.set_num_threads(2)
    start = time.monotonic()
    write(options.folder, torch.float32 if options.float32 else torch.float64, options.gradients)
    print(f'{time.monotonic() - start:.0f} s, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB')
