"""The JSON files of a Hugging Face CLIP folder, as the versions of `transformers` have written them over the years."""

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def clip_config(shape, style, start_token_id):
    """`config.json` of a ClipShape.

    :param style: `full` has every field, generation settings and the copies under `*_config_dict` too, as the published ViT-L/14 has;
        `plain` has the model's own fields; `difference` has only those that differ from the defaults of `CLIPConfig`, as recent versions write it
    """
    vision, text = shape.vision, shape.text
    text_config = {
        'attention_dropout': 0.0, 'bos_token_id': start_token_id, 'dropout': 0.0, 'eos_token_id': shape.eos_token_id, 'hidden_act': 'quick_gelu',
        'hidden_size': text.width, 'initializer_factor': 1.0, 'initializer_range': 0.02, 'intermediate_size': text.mlp, 'layer_norm_eps': 1e-05,
        'max_position_embeddings': shape.context, 'model_type': 'clip_text_model', 'num_attention_heads': text.heads,
        'num_hidden_layers': text.layers, 'pad_token_id': 1, 'projection_dim': shape.joint, 'vocab_size': shape.vocabulary,
    }
    vision_config = {
        'attention_dropout': 0.0, 'dropout': 0.0, 'hidden_act': 'quick_gelu', 'hidden_size': vision.width, 'image_size': shape.image_size,
        'initializer_factor': 1.0, 'initializer_range': 0.02, 'intermediate_size': vision.mlp, 'layer_norm_eps': 1e-05,
        'model_type': 'clip_vision_model', 'num_attention_heads': vision.heads, 'num_channels': 3, 'num_hidden_layers': vision.layers,
        'patch_size': shape.patch, 'projection_dim': shape.joint,
    }
    config = {
        'architectures': ['CLIPModel'], 'initializer_factor': 1.0, 'logit_scale_init_value': 2.6592, 'model_type': 'clip',
        'projection_dim': shape.joint, 'text_config': text_config, 'torch_dtype': 'float32', 'vision_config': vision_config,
    }
    if style == 'full':
        generation = {
            '_name_or_path': '', 'add_cross_attention': False, 'architectures': None, 'chunk_size_feed_forward': 0, 'do_sample': False,
            'early_stopping': False, 'id2label': {'0': 'LABEL_0', '1': 'LABEL_1'}, 'is_decoder': False, 'is_encoder_decoder': False,
            'label2id': {'LABEL_0': 0, 'LABEL_1': 1}, 'length_penalty': 1.0, 'max_length': 20, 'min_length': 0, 'num_beams': 1,
            'output_attentions': False, 'output_hidden_states': False, 'prefix': None, 'return_dict': True, 'temperature': 1.0,
            'tie_encoder_decoder': False, 'tie_word_embeddings': True, 'top_k': 50, 'top_p': 1.0, 'torch_dtype': None,
            'transformers_version': '4.16.0.dev0', 'use_bfloat16': False,
        }
        config['text_config_dict'] = {
            'hidden_size': text.width, 'intermediate_size': text.mlp, 'num_attention_heads': text.heads, 'num_hidden_layers': text.layers,
            'projection_dim': shape.joint,
        }
        config['vision_config_dict'] = {
            'hidden_size': vision.width, 'intermediate_size': vision.mlp, 'num_attention_heads': vision.heads, 'num_hidden_layers': vision.layers,
            'patch_size': shape.patch, 'projection_dim': shape.joint,
        }
        text_config.update(generation)
        vision_config.update(generation)
        config['transformers_version'] = None
    elif style == 'difference':
        text_defaults = {
            'bos_token_id': 49406, 'eos_token_id': 49407, 'hidden_size': 512, 'intermediate_size': 2048, 'max_position_embeddings': 77,
            'num_attention_heads': 8, 'num_hidden_layers': 12, 'projection_dim': 512, 'vocab_size': 49408,
        }
        vision_defaults = {
            'hidden_size': 768, 'image_size': 224, 'intermediate_size': 3072, 'num_attention_heads': 12, 'num_channels': 3,
            'num_hidden_layers': 12, 'patch_size': 32, 'projection_dim': 512,
        }
        # What is the same for every CLIP is a default as well.
        for fields, defaults in ((text_config, text_defaults), (vision_config, vision_defaults)):
            for name in list(fields):
                if name != 'model_type' and fields[name] == defaults.get(name, fields[name]):
                    del fields[name]
        config['transformers_version'] = '4.46.0'
    else:
        config['transformers_version'] = '4.30.0'
    return config


def preprocessor_config(shape, style):
    """`preprocessor_config.json`: sizes as numbers in the oldest style, as objects later."""
    side = shape.image_size
    config = {
        'crop_size': side, 'do_center_crop': True, 'do_normalize': True, 'do_resize': True, 'feature_extractor_type': 'CLIPFeatureExtractor',
        'image_mean': list(CLIP_MEAN), 'image_std': list(CLIP_STD), 'resample': 3, 'size': side,
    }
    if style != 'full':
        del config['feature_extractor_type']
        config.update({
            'crop_size': {'height': side, 'width': side}, 'do_convert_rgb': True, 'do_rescale': True, 'image_processor_type': 'CLIPImageProcessor',
            'rescale_factor': 1 / 255, 'size': {'shortest_edge': side},
        })
    return config
