"""A CLIP tokenizer of a few dozen tokens: byte-level BPE with word ends marked by `</w>`, in the layout of Hugging Face's
`tokenizer.json`, and an encoder that says which ids it must give for ASCII text.
"""

import re

START, END = '<|startoftext|>', '<|endoftext|>'
_characters = 'abcdefghijklmnopqrstuvwxyz[]'
# In this order by rank. "abnormal" and "obj" stay several tokens.
_merges = ('o f</w>', 'o r', 'p h', 'ph o', 't o</w>', 'pho to</w>', 'n or', 'm a', 'nor ma', 'norma l</w>', 'a b', 'b j</w>')
_pattern = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_ascii_pattern = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")


class Tokenizer:
    """
    :param special_first: whether the start and end tokens have the lowest ids (0 and 1) instead of the highest, as CLIP's have
    :param merge_pairs: whether merges are written as pairs, as recent versions of `tokenizers` do, or as "a b"
    :param size: size of the vocabulary whose last two ids are the start and end tokens; the ids that nothing here needs have no token
    """

    def __init__(self, special_first=False, merge_pairs=False, size=None):
        plain = [*_characters, *(f'{c}</w>' for c in _characters), *(merge.replace(' ', '') for merge in _merges)]
        tokens = [START, END, *plain] if special_first else [*plain, START, END]
        self.vocabulary = {token: index for index, token in enumerate(tokens)}
        if size is not None:
            self.vocabulary.update({START: size - 2, END: size - 1})
        self.start, self.end = self.vocabulary[START], self.vocabulary[END]
        self.merge_pairs = merge_pairs

    def __len__(self):
        return len(self.vocabulary)

    def encode(self, text, length):
        """Lower-cased text → ids with start and end, padded with the end token to a length, as Hugging Face's CLIP tokenizer pads."""
        ids = [self.start]
        for word in _ascii_pattern.findall(text.lower()):
            ids += [self.vocabulary[token] for token in self._merge(word)]
        ids.append(self.end)
        return ids + [self.end] * (length - len(ids))

    def _merge(self, word):
        tokens = [*word[:-1], f'{word[-1]}</w>']
        while True:
            pairs = [f'{a} {b}' for a, b in zip(tokens, tokens[1:])]
            known = [pair for pair in pairs if pair in _merges]
            if not known:
                return tokens
            index = pairs.index(min(known, key=_merges.index))
            tokens[index:index + 2] = [tokens[index] + tokens[index + 1]]

    def json(self):
        """The content of `tokenizer.json`."""
        special = [
            {'id': self.vocabulary[token], 'content': token, 'single_word': False, 'lstrip': False, 'rstrip': False, 'normalized': token == START, 'special': True}
            for token in (START, END)
        ]
        return {
            'version': '1.0',
            'truncation': None,
            'padding': None,
            'added_tokens': special,
            'normalizer': {
                'type': 'Sequence',
                'normalizers': [{'type': 'NFC'}, {'type': 'Replace', 'pattern': {'Regex': r'\s+'}, 'content': ' '}, {'type': 'Lowercase'}],
            },
            'pre_tokenizer': {
                'type': 'Sequence',
                'pretokenizers': [
                    {'type': 'Split', 'pattern': {'Regex': _pattern}, 'behavior': 'Removed', 'invert': True},
                    {'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': True},
                ],
            },
            'post_processor': {
                'type': 'RobertaProcessing', 'sep': [END, self.end], 'cls': [START, self.start], 'trim_offsets': False, 'add_prefix_space': False,
            },
            'decoder': {'type': 'ByteLevel', 'add_prefix_space': True, 'trim_offsets': True},
            'model': {
                'type': 'BPE', 'dropout': None, 'unk_token': END, 'continuing_subword_prefix': '', 'end_of_word_suffix': '</w>', 'fuse_unk': False,
                'vocab': self.vocabulary,
                'merges': [merge.split(' ') for merge in _merges] if self.merge_pairs else list(_merges),
            },
        }
