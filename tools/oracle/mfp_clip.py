"""MFP-CLIP in plain PyTorch: the reference that the WGSL engine is held against.

Written from the description of the method alone (README.md beside this file has the decisions that it leaves open), with no
tricks: attention writes its matrix, nothing is fused, nothing is cached. Everything follows the dtype of the weights, so that float64
weights give a float64 reference.

Weights are dicts of tensors with the names and layouts of the files they come from: Hugging Face's `CLIPModel`, torchvision's ResNet,
and this project's `mfp.safetensors`.

Shapes: B images, P = G×G patches, Dv vision width, Dt text width, De joint width, Dc CNN feature width, n = 77 text positions.
"""

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

PROMPTS = ('A photo of a normal [OBJ]', 'A photo of a abnormal [OBJ]')

DEFAULT_CONFIG = {
    'image': {'size': 518},
    'cnn': {'size': 224},
    'i2tp': {'enabled': True, 'concat': 'feature'},
    'sp': {'enabled': True, 'count': 5, 'stages': [1], 'keepPrompts': True},
    'adapter': {'enabled': True, 'hidden': None, 'lnPost': False},
    'mpfa': {'enabled': True, 'size': 3},
    'map': {'temperature': None, 'stages': [1, 2, 3, 4]},
    'mp': {'enabled': True, 'detach': True},
    'loss': {'gamma': 2, 'focal': 1, 'dice': 1, 'bce': 1},
}

# Zero-shot CLIP without anything of the method: the last layer's patches through CLIP's own projection.
PLAIN_CLIP = {
    'i2tp': {'enabled': False}, 'sp': {'enabled': False}, 'adapter': {'enabled': False}, 'mpfa': {'enabled': False}, 'map': {'stages': [4]},
    'mp': {'enabled': False},
}


def full_config(changes):
    """The default configuration with some fields of some sections replaced."""
    config = copy.deepcopy(DEFAULT_CONFIG)
    for section, fields in changes.items():
        for field, value in fields.items():
            if field not in config[section]:
                raise KeyError(f'{section}.{field}')
            config[section][field] = value
    return config


@dataclass(frozen=True)
class Tower:
    """What a transformer tower's weights don't say by their shapes."""
    layers: int
    heads: int
    epsilon: float = 1e-5


@dataclass(frozen=True)
class Clip:
    """The numbers of a CLIP that the method needs."""
    vision: Tower
    text: Tower
    patch: int
    pretrained_image_size: int
    eos_token_id: int


def linear(weights, name, x):
    """x [..., in] → [..., out]; the bias is optional."""
    return F.linear(x, weights[f'{name}.weight'], weights[f'{name}.bias'] if f'{name}.bias' in weights else None)


def layer_norm(weights, name, x, epsilon):
    return F.layer_norm(x, x.shape[-1:], weights[f'{name}.weight'], weights[f'{name}.bias'], epsilon)


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


def attention(q, k, v, heads, causal):
    """Multi-head attention: q, k, v [B, T, W] → [B, T, W], logits scaled by 1/√(W/heads)."""
    batch, length, width = q.shape
    size = width // heads
    q, k, v = (x.reshape(batch, length, heads, size).transpose(1, 2) for x in (q, k, v))
    logits = q @ k.transpose(-1, -2) / math.sqrt(size)
    if causal:
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        logits = logits.masked_fill(future, -math.inf)
    return (torch.softmax(logits, dim=-1) @ v).transpose(1, 2).reshape(batch, length, width)


def block(weights, name, x, tower, causal):
    """One pre-LayerNorm transformer layer: x [B, T, W] → [B, T, W]."""
    h = layer_norm(weights, f'{name}.layer_norm1', x, tower.epsilon)
    q, k, v = (linear(weights, f'{name}.self_attn.{part}_proj', h) for part in 'qkv')
    x = x + linear(weights, f'{name}.self_attn.out_proj', attention(q, k, v, tower.heads, causal))
    h = layer_norm(weights, f'{name}.layer_norm2', x, tower.epsilon)
    return x + linear(weights, f'{name}.mlp.fc2', quick_gelu(linear(weights, f'{name}.mlp.fc1', h)))


def resize_position(position, grid):
    """Position embedding [1 + g·g, W] → [1 + grid·grid, W]: the patches' part bicubically, the class token's as it is."""
    count, width = position.shape
    old = math.isqrt(count - 1)
    if old == grid:
        return position
    patches = position[1:].reshape(1, old, old, width).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, size=(grid, grid), mode='bicubic', align_corners=False, antialias=False)
    return torch.cat([position[:1], patches.permute(0, 2, 3, 1).reshape(grid * grid, width)])


def frozen_batch_norm(weights, name, x):
    """BatchNorm in evaluation mode, over the channels of x [B, C, H, W]."""
    return F.batch_norm(x, weights[f'{name}.running_mean'], weights[f'{name}.running_var'],
                        weights[f'{name}.weight'], weights[f'{name}.bias'], training=False, eps=1e-5)


def resnet_stages(weights, image):
    """The bottleneck ResNet: image [B, 3, h, w] → the outputs of the stem's pool and of the four stages, [B, C, h', w'] each.

    Widths and depths are those of the weights. Stride 2 sits in a bottleneck's 3×3 convolution, as in torchvision.
    """
    x = F.conv2d(image, weights['conv1.weight'], stride=2, padding=3)
    x = F.max_pool2d(F.relu(frozen_batch_norm(weights, 'bn1', x)), kernel_size=3, stride=2, padding=1)
    outputs = [x]
    for stage in range(1, 5):
        index = 0
        while f'layer{stage}.{index}.conv1.weight' in weights:
            name = f'layer{stage}.{index}'
            stride = 2 if stage > 1 and index == 0 else 1
            shortcut = x
            if f'{name}.downsample.0.weight' in weights:
                shortcut = frozen_batch_norm(weights, f'{name}.downsample.1', F.conv2d(x, weights[f'{name}.downsample.0.weight'], stride=stride))
            h = F.relu(frozen_batch_norm(weights, f'{name}.bn1', F.conv2d(x, weights[f'{name}.conv1.weight'])))
            h = F.relu(frozen_batch_norm(weights, f'{name}.bn2', F.conv2d(h, weights[f'{name}.conv2.weight'], stride=stride, padding=1)))
            h = frozen_batch_norm(weights, f'{name}.bn3', F.conv2d(h, weights[f'{name}.conv3.weight']))
            x = F.relu(h + shortcut)
            index += 1
        outputs.append(x)
    return outputs


def neighbourhood_mean(tokens, size):
    """MPFA, eq. 8-10: tokens [B, P, D] of a square grid → the mean over each one's size×size neighbourhood, borders over what exists."""
    batch, count, width = tokens.shape
    grid = math.isqrt(count)
    image = tokens.transpose(1, 2).reshape(batch, width, grid, grid)
    image = F.avg_pool2d(image, size, stride=1, padding=size // 2, count_include_pad=False)
    return image.reshape(batch, width, count).transpose(1, 2)


def abnormal_probability(patches, text, temperature):
    """Eq. 11: patches [B, P, D], text [B or 1, 2, D] (normal, abnormal) → softmax's abnormal channel [B, P]."""
    cosine = F.normalize(patches, dim=-1) @ F.normalize(text, dim=-1).transpose(-1, -2)
    return torch.softmax(cosine * temperature, dim=-1)[..., 1]


def upsample_mean(maps, height, width):
    """Eq. 12-13: maps [B, S, P] of square grids → each bilinearly to height×width, then the mean over S: [B, height, width]."""
    batch, stages, count = maps.shape
    grid = math.isqrt(count)
    return F.interpolate(maps.reshape(batch, stages, grid, grid), size=(height, width), mode='bilinear', align_corners=False).mean(1)


class MfpClip:
    """The model over three dicts of weights. Gradients flow to whichever of them require it.

    :param clip_info: a Clip
    :param config: a full configuration, see DEFAULT_CONFIG
    :param low_memory: keep only the layers' inputs for backward and compute the layers again
    """

    def __init__(self, clip_info, clip, cnn, trained, config, low_memory=False):
        self.info = clip_info
        self.clip = clip
        self.cnn = cnn
        self.trained = trained
        self.config = config
        self.low_memory = low_memory
        self.grid = config['image']['size'] // clip_info.patch
        if clip_info.vision.layers % 4 != 0:
            raise ValueError('the image tower needs a multiple of 4 layers')

    def _block(self, name, x, tower, causal):
        if self.low_memory and torch.is_grad_enabled():
            return checkpoint(lambda h: block(self.clip, name, h, tower, causal), x, use_reentrant=False)
        return block(self.clip, name, x, tower, causal)

    # CLIP's towers.

    def patch_tokens(self, image):
        """Image [B, 3, H, W] → patch embeddings with their position embedding [B, P, Dv]."""
        x = F.conv2d(image, self.clip['vision_model.embeddings.patch_embedding.weight'], stride=self.info.patch)
        return x.flatten(2).transpose(1, 2) + self._position()[1:]

    def class_token(self, batch):
        """The class token with its position embedding [B, 1, Dv]."""
        return (self.clip['vision_model.embeddings.class_embedding'] + self._position()[0]).expand(batch, 1, -1)

    def _position(self):
        return resize_position(self.clip['vision_model.embeddings.position_embedding.weight'], self.grid)

    def image_tower(self, embedding, prompts):
        """The whole image tower over an embedding [B, 1 + P, Dv] and prompts ([B, 2K, Dv] or None).

        :return: the patch tokens of the four taps [B, P, Dv] each, and the last layer's class token [B, Dv]
        """
        tower = self.info.vision
        prompted = self.prompted_layers() if prompts is not None else set()
        count = embedding.shape[1]
        x = layer_norm(self.clip, 'vision_model.pre_layrnorm', embedding, tower.epsilon)
        taps = []
        for layer in range(1, tower.layers + 1):
            if layer in prompted:
                x = torch.cat([x[:, :count], prompts], dim=1)
            x = self._block(f'vision_model.encoder.layers.{layer - 1}', x, tower, causal=False)
            if layer in prompted and layer + 1 not in prompted and not self.config['sp']['keepPrompts']:
                x = x[:, :count]
            if layer % (tower.layers // 4) == 0:
                taps.append(x[:, 1:count])
        return taps, x[:, 0]

    def prompted_layers(self):
        """The layers, counted from 1, that get fresh prompts."""
        quarter = self.info.vision.layers // 4
        return {layer for stage in self.config['sp']['stages'] for layer in range((stage - 1) * quarter + 1, stage * quarter + 1)} - {1}

    def text_tower(self, embeddings, ids):
        """Token embeddings [..., 2, n, Dt] without position, of ids [2, n] → text features [..., 2, De], not normalised."""
        tower = self.info.text
        x = embeddings + self.clip['text_model.embeddings.position_embedding.weight']
        x = x.reshape(-1, *x.shape[-2:])
        for layer in range(tower.layers):
            x = self._block(f'text_model.encoder.layers.{layer}', x, tower, causal=True)
        x = layer_norm(self.clip, 'text_model.final_layer_norm', x, tower.epsilon).reshape(embeddings.shape)
        pooled = x[..., torch.arange(ids.shape[0]), self.end_of_text(ids), :]
        return linear(self.clip, 'text_projection', pooled)

    def end_of_text(self, ids):
        """The position to pool at: the first end-of-text token; where the configuration has the legacy id 2, the highest id."""
        if self.info.eos_token_id == 2:
            return ids.argmax(-1)
        return (ids == self.info.eos_token_id).int().argmax(-1)

    def clip_image_features(self, image):
        """Plain CLIP: image [B, 3, H, W] → [B, De], not normalised."""
        embedding = torch.cat([self.class_token(image.shape[0]), self.patch_tokens(image)], dim=1)
        _, token = self.image_tower(embedding, None)
        return linear(self.clip, 'visual_projection', layer_norm(self.clip, 'vision_model.post_layernorm', token, self.info.vision.epsilon))

    def clip_text_features(self, ids):
        """Plain CLIP: ids [2, n] → [2, De], not normalised."""
        return self.text_tower(self.clip['text_model.embeddings.token_embedding.weight'][ids], ids)

    # The method.

    def text_embeddings(self, ids, features):
        """I2TP, eq. 1-2: ids [2, n] and CNN features [B, Dc] → token embeddings without position [B, 2, n, Dt] ([1, 2, n, Dt] without I2TP)."""
        tokens = self.clip['text_model.embeddings.token_embedding.weight'][ids][None]
        if not self.config['i2tp']['enabled']:
            return tokens
        tokens = tokens.expand(features.shape[0], -1, -1, -1)
        f = linear(self.trained, 'i2tp.image_proj', features)[:, None, None, :]
        if self.config['i2tp']['concat'] == 'feature':
            return linear(self.trained, 'i2tp.fuse', torch.cat([tokens, f.expand_as(tokens)], dim=-1))
        tokens = torch.cat([tokens, f.expand(-1, 2, -1, -1)], dim=2)
        return linear(self.trained, 'i2tp.fuse', tokens.transpose(-1, -2)).transpose(-1, -2)

    def prompts(self, features):
        """SP, eq. 3: CNN features [B, Dc] → the image's K prompts, then the K learned ones [B, 2K, Dv]; None without SP."""
        if not self.config['sp']['enabled']:
            return None
        own = [linear(self.trained, f'sp.proj.{k}', features) for k in range(self.config['sp']['count'])]
        learned = self.trained['sp.tokens'].expand(features.shape[0], -1, -1)
        return torch.cat([torch.stack(own, dim=1), learned], dim=1)

    def adapter(self, stage, tap):
        """AD, eq. 7: a tap [B, P, Dv] of a stage counted from 0 → [B, P, De]. Without adapters, CLIP's own final LayerNorm and projection."""
        if not self.config['adapter']['enabled']:
            return linear(self.clip, 'visual_projection', layer_norm(self.clip, 'vision_model.post_layernorm', tap, self.info.vision.epsilon))
        if self.config['adapter']['lnPost']:
            tap = layer_norm(self.clip, 'vision_model.post_layernorm', tap, self.info.vision.epsilon)
        h = F.leaky_relu(linear(self.trained, f'adapter.{stage}.fc1', tap), 0.01)
        return F.leaky_relu(linear(self.trained, f'adapter.{stage}.fc2', h), 0.01)

    def temperature(self):
        configured = self.config['map']['temperature']
        return self.clip['logit_scale'].exp() if configured is None else configured

    def anomaly_map(self, name, embedding, prompts, text, trace):
        """One pass: an embedding [B, 1 + P, Dv] → the anomaly map [B, H, W]. What is computed on the way goes into trace."""
        taps, _ = self.image_tower(embedding, prompts)
        trace[f'{name}.embedding'] = embedding
        trace.update({f'{name}.tap.{stage + 1}': tap for stage, tap in enumerate(taps)})
        probabilities = []
        for stage in self.config['map']['stages']:
            adapted = self.adapter(stage - 1, taps[stage - 1])
            pooled = neighbourhood_mean(adapted, self.config['mpfa']['size']) if self.config['mpfa']['enabled'] else adapted
            probabilities.append(abnormal_probability(pooled, text, self.temperature()))
            trace[f'{name}.adapter.{stage}'] = adapted
            trace[f'{name}.pooled.{stage}'] = pooled
        trace[f'{name}.probability'] = torch.stack(probabilities, dim=1)
        size = self.config['image']['size']
        return upsample_mean(trace[f'{name}.probability'], size, size)

    def forward(self, image, cnn_image, ids):
        """The whole model.

        :param image: [B, 3, H, W], normalised for CLIP
        :param cnn_image: [B, 3, h, w], normalised for the CNN
        :param ids: [2, n], the tokens of the normal and of the abnormal prompt
        :return: a dict with all that the goldens hold, see README.md; `map.final` [B, H, W] and `score` [B] are the result
        """
        trace = {}
        stages = resnet_stages(self.cnn, cnn_image)
        for name, stage in zip(('stem', 'layer1', 'layer2', 'layer3', 'layer4'), stages):
            trace[f'cnn.{name}'] = stage
        features = trace['cnn.features'] = stages[-1].mean((2, 3))

        trace['text.embeddings'] = self.text_embeddings(ids, features)
        text = trace['text.features'] = self.text_tower(trace['text.embeddings'], ids)
        prompts = self.prompts(features)
        if prompts is not None:
            trace['prompts'] = prompts

        class_token = self.class_token(image.shape[0])
        patches = self.patch_tokens(image)
        coarse = self.anomaly_map('pass1', torch.cat([class_token, patches], dim=1), prompts, text, trace)
        trace['map.coarse'] = final = coarse

        if self.config['mp']['enabled']:
            mask = coarse.detach() if self.config['mp']['detach'] else coarse
            masked = self.patch_tokens(image * mask[:, None])
            fused = linear(self.trained, 'mp.fuse', torch.cat([patches, masked], dim=-1))
            final = self.anomaly_map('pass2', torch.cat([class_token, fused], dim=1), prompts, text, trace)
        trace['map.final'] = final
        trace['score'] = final.flatten(1).max(1).values
        return trace

    def losses(self, trace, mask, label):
        """The training loss of a forward's result.

        :param mask: [B, H, W], 0 or 1
        :param label: [B], 0 or 1
        :return: a dict of the single losses, unweighted, and `loss.total`. Without mask prompting there is one map only,
            the final one, and it counts once.
        """
        weights = self.config['loss']
        losses = {}
        total = 0
        for name in ('coarse', 'final') if self.config['mp']['enabled'] else ('final',):
            losses[f'loss.{name}.focal'] = focal_loss(trace[f'map.{name}'], mask, weights['gamma'])
            losses[f'loss.{name}.dice'] = dice_loss(trace[f'map.{name}'], mask)
            total = total + weights['focal'] * losses[f'loss.{name}.focal'] + weights['dice'] * losses[f'loss.{name}.dice']
        losses['loss.bce'] = F.binary_cross_entropy(trace['score'], label)
        losses['loss.total'] = total + weights['bce'] * losses['loss.bce']
        return losses


def focal_loss(probability, mask, gamma, smooth=1e-5):
    """Focal loss over both classes: probability and mask [B, H, W] of the abnormal one → the mean over all pixels."""
    both = torch.stack([1 - probability, probability])
    target = torch.stack([1 - mask, mask]).clamp(smooth, 1 - smooth)
    pt = (target * both).sum(0) + smooth
    # Rounding can take pt past 1, where a fractional power has no value.
    return ((1 - pt).clamp(min=0) ** gamma * -pt.log()).mean()


def binary_dice_loss(probability, mask, smooth=1.0):
    """1 − (2Σpm + 1)/(Σp + Σm + 1) of each image of [B, H, W], the mean over the images."""
    p, m = probability.flatten(1), mask.flatten(1)
    return (1 - (2 * (p * m).sum(1) + smooth) / (p.sum(1) + m.sum(1) + smooth)).mean()


def dice_loss(probability, mask):
    """Dice on the abnormal channel against the mask plus dice on the normal channel against its complement."""
    return binary_dice_loss(probability, mask) + binary_dice_loss(1 - probability, 1 - mask)


def contrastive_loss(image, text, logit_scale):
    """CLIP's own loss: image and text [B, D] not normalised, logit_scale the logarithm of the factor; mean of both directions."""
    logits = logit_scale.exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    target = torch.arange(image.shape[0])
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
