import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { UserError } from '../../src/errors.ts';
import { clipTokenizerJson, loadTokenizer } from '../../src/models/clip/tokenizer.ts';

let root: string;
let count = 0;
test.before(async () => {
  root = await mkdtemp(join(tmpdir(), 'tokenizer-'));
});
test.after(() => rm(root, { recursive: true, force: true }));

/** A new folder with these files. */
async function folderWith(files: Record<string, unknown>): Promise<string> {
  const folder = join(root, String(count++));
  await mkdir(folder);
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content));
  return folder;
}

async function refusal(files: Record<string, unknown>): Promise<string> {
  return messageOf(async () => loadTokenizer(await folderWith(files)));
}

async function messageOf(action: () => unknown): Promise<string> {
  try {
    await action();
  } catch (error) {
    assert.instance(error, UserError);
    return (error as Error).message;
  }
  throw new Error('no error was thrown');
}

// Letters and word-final letters, then merges by rank, then the special tokens last, as in CLIP's own vocabulary.
const letters = [..."abcdefghijklmnopqrstuvwxyz'19!"];
const merges = ['p h', 'o t', 'ph ot', 'phot o</w>', 'a t</w>', 'c at</w>', 'n o', "' s</w>"];
const tokens = [...letters, ...letters.map((letter) => `${letter}</w>`), ...merges.map((merge) => merge.replace(' ', '')), '<|startoftext|>', '<|endoftext|>'];
const vocabulary = Object.fromEntries(tokens.map((token, id) => [token, id]));
const [start, end] = [tokens.length - 2, tokens.length - 1];
const idsOf = (...names: string[]): number[] => names.map((name) => vocabulary[name]);
const json = clipTokenizerJson(vocabulary, merges);

test('text becomes start, byte pairs by rank with word ends, end, and padding', async () => {
  const tokenizer = await loadTokenizer(await folderWith({ 'tokenizer.json': json }));
  assert.is(tokenizer.vocabularySize, tokens.length);
  assert.is(tokenizer.startId, start);
  assert.is(tokenizer.endId, end);
  const { ids, endOfText } = tokenizer.encode("  A PHOTO\n of Cat's 19!!", 16);
  const text = idsOf('a</w>', 'photo</w>', 'o', 'f</w>', 'cat</w>', "'s</w>", '1</w>', '9</w>', '!', '!</w>');
  assert.equal([...ids], [start, ...text, end, end, end, end, end]);
  assert.is(endOfText, 11);
  assert.is(tokenizer.encode('cat').ids.length, 77);
  assert.equal([...tokenizer.encode('', 4).ids], [start, end, end, end]);
});

test('tokenizer.json, vocab.json with merges.txt, and merges written as pairs give the same ids', async () => {
  const text = "a photo of no cat's photograph";
  const folders = [
    { 'tokenizer.json': json },
    { 'vocab.json': vocabulary, 'merges.txt': `#version: 0.2\n${merges.join('\n')}\n` },
    { 'tokenizer.json': { ...json, model: { ...(json.model as object), merges: merges.map((merge) => merge.split(' ')) } } },
    // Start and end are placed even where the file says nothing about them.
    { 'tokenizer.json': { ...json, post_processor: null } },
  ];
  const [first, ...rest] = await Promise.all(folders.map(async (files) => (await loadTokenizer(await folderWith(files))).encode(text)));
  for (const other of rest) assert.equal(other, first);
});

test('the names of special tokens and the padding come from the configuration', async () => {
  const renamed = Object.fromEntries(tokens.map((token, id) => [token === '<|startoftext|>' ? '<s>' : token === '<|endoftext|>' ? '</s>' : token, id]));
  const configuration = { bos_token: { content: '<s>' }, eos_token: '</s>', pad_token: '!' };
  for (const files of [
    { 'tokenizer.json': clipTokenizerJson(renamed, merges, '<s>', '</s>'), 'tokenizer_config.json': configuration },
    { 'vocab.json': renamed, 'merges.txt': merges.join('\r\n'), 'special_tokens_map.json': configuration },
  ]) {
    const { ids, endOfText } = (await loadTokenizer(await folderWith(files))).encode('cat', 5);
    assert.equal([...ids], [start, ...idsOf('cat</w>'), end, ...idsOf('!', '!')]);
    assert.is(endOfText, 2);
  }
});

test('special tokens with the lowest ids: the end is found by its id', async () => {
  const order = ['<|startoftext|>', '<|endoftext|>', ...tokens.slice(0, -2)];
  const low = Object.fromEntries(order.map((token, id) => [token, id]));
  const { ids, endOfText } = (await loadTokenizer(await folderWith({ 'tokenizer.json': clipTokenizerJson(low, merges) }))).encode('cat', 4);
  assert.equal([...ids], [0, low['cat</w>'], 1, 1]);
  assert.is(endOfText, 2);
});

test('a text that is too long is an error, or is cut with its end kept', async () => {
  const tokenizer = await loadTokenizer(await folderWith({ 'tokenizer.json': json }));
  const fits = tokenizer.encode('cat cat cat', 5);
  assert.is(fits.endOfText, 4);
  assert.match(await messageOf(() => tokenizer.encode('cat cat cat cat', 5)), /"cat cat cat cat" has 4 tokens; 3 fit/);
  assert.equal(tokenizer.encode('cat cat cat cat', 5, { truncate: true }), fits);
});

test('special tokens in a text, and characters without a token, are refused: they would end the text early', async () => {
  const tokenizer = await loadTokenizer(await folderWith({ 'tokenizer.json': json }));
  assert.match(await messageOf(() => tokenizer.encode('cat <|endoftext|> no')), /"cat <\|endoftext\|> no" has characters/);
  assert.match(await messageOf(() => tokenizer.encode('cat <|STARTOFTEXT|>')), /special tokens/);
  assert.match(await messageOf(() => tokenizer.encode('naïve')), /"naïve" has characters that the vocabulary in .*tokenizer\.json does not know/);
});

test('a folder without a tokenizer says what was looked for', async () => {
  const message = await refusal({ 'config.json': '{}', 'vocab.json': vocabulary });
  assert.match(message, /has no tokenizer: looked for tokenizer\.json, and for vocab\.json with merges\.txt/);
  assert.ok(message.includes(root));
});

test('a damaged tokenizer is refused with the file and the entry', async () => {
  const withModel = (change: object): object => ({ ...json, model: { ...(json.model as object), ...change } });
  assert.match(await refusal({ 'tokenizer.json': '{"model"' }), /tokenizer\.json: it is not JSON/);
  assert.match(await refusal({ 'tokenizer.json': '[]' }), /not a JSON object/);
  assert.match(await refusal({ 'tokenizer.json': {} }), /tokenizer\.json: the model is undefined/);
  assert.match(await refusal({ 'tokenizer.json': withModel({ type: 'Unigram' }) }), /the model is "Unigram"/);
  assert.match(await refusal({ 'tokenizer.json': withModel({ vocab: { ...vocabulary, cat: -1 } }) }), /token "cat" has the id -1/);
  assert.match(await refusal({ 'tokenizer.json': withModel({ vocab: { ...vocabulary, cat: 1e9 } }) }), /token "cat" has the id 1000000000/);
  assert.match(await refusal({ 'tokenizer.json': withModel({ merges: ['a b', 'abc'] }) }), /merge 1 is "abc"/);
  assert.match(await refusal({ 'tokenizer.json': withModel({ merges: undefined }) }), /the merges are missing/);
  assert.match(await refusal({ 'tokenizer.json': { ...json, added_tokens: [{ id: 3 }] } }), /added token {"id":3}/);
  assert.match(await refusal({ 'tokenizer.json': json, 'tokenizer_config.json': { eos_token: '<eos>' } }), /the vocabulary has no "<eos>"/);
  assert.match(await refusal({ 'tokenizer.json': { ...json, pre_tokenizer: { type: 'Sideways' } } }), /tokenizer\.json: it cannot be used as a tokenizer/);
  assert.match(await refusal({ 'vocab.json': vocabulary, 'merges.txt': '#version: 0.2\na b\nabc\n' }), /merges\.txt, line 3: "abc" is not two tokens/);
  assert.match(await refusal({ 'vocab.json': { ...vocabulary, cat: 'x' }, 'merges.txt': '' }), /vocab\.json: token "cat" has the id "x"/);
  assert.match(await refusal({ 'vocab.json': { cat: 1 }, 'merges.txt': '' }), /the vocabulary has no "<\|startoftext\|>"/);
});

// Ids that OpenAI's and Hugging Face's documentation show for the real vocabulary, which cannot ship with the project:
// set MFP_CLIP_TOKENIZER to a CLIP folder to check them.
const real = process.env.MFP_CLIP_TOKENIZER;
const published: readonly [string, number[]][] = [
  ['a photo of a cat', [49406, 320, 1125, 539, 320, 2368, 49407]],
  ['a photo of a dog', [49406, 320, 1125, 539, 320, 1929, 49407]],
  ['A  DIAGRAM\n', [49406, 320, 22697, 49407]],
  ['hello world!', [49406, 3306, 1002, 256, 49407]],
];
(real ? test : test.skip)('published ids of the real vocabulary', async () => {
  const tokenizer = await loadTokenizer(real!);
  assert.is(tokenizer.vocabularySize, 49408);
  for (const [text, expected] of published) {
    const { ids, endOfText } = tokenizer.encode(text);
    assert.equal([...ids.subarray(0, endOfText + 1)], expected, text);
    assert.is(endOfText, ids.indexOf(Math.max(...ids)));
  }
});

test.run();
